"""A flax.linen LSTM on UCI HAR becomes a spiking network."""
from flax import linen
import jax

from experiments.datasets.har import Har
import slstm

data = Har().load()
rnn, dense = linen.RNN(linen.OptimizedLSTMCell(32)), linen.Dense(6)
cell = rnn.init(jax.random.key(0), data.train.x[:1])['params']['cell']
head = dense.init(jax.random.key(1), jax.numpy.zeros((1, 32)))['params']
# ... here your own loop trains cell and head ...
encoder = slstm.standardising(data.train.x)
model = slstm.from_linen([cell], head, pooling=('mean',), encoder=encoder)
how = slstm.TrainConfig(epochs=2)
for state, metrics in slstm.fit(model, data.train, data.validation, config=how):
  print(metrics)
snn = slstm.pick(slstm.trade_off(state.best, data.train.x[:512]),
                 rate=0.2).model
print(slstm.evaluate(state.best, data.test), slstm.evaluate(snn, data.test))
