"""A Keras LSTM on UCI HAR becomes a spiking network, without fine-tuning."""
import keras

from experiments.datasets.har import Har
import slstm

data = Har().load()
source = keras.Sequential([
    keras.layers.LSTM(32, return_sequences=True),
    keras.layers.GlobalAveragePooling1D(),
    keras.layers.Dense(6, activation='softmax')
])
source.compile(keras.optimizers.Adam(0.01), 'sparse_categorical_crossentropy')
source.fit(*data.train[:2], batch_size=64, epochs=1, verbose=0)

model = slstm.from_keras(source)
snn = slstm.pick(slstm.trade_off(model, data.train.x[:512]), rate=0.2).model
print(slstm.evaluate(model, data.test), slstm.evaluate(snn, data.test))
