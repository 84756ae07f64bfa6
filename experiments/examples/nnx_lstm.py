"""A flax.nnx LSTM on UCI HAR becomes a spiking network, and is fine-tuned."""
from flax import nnx

from experiments.datasets.har import Har
import slstm

data = Har().load()
rngs = nnx.Rngs(0)
cell, head = nnx.LSTMCell(18, 32, rngs=rngs), nnx.Linear(32, 6, rngs=rngs)
# ... here your own loop trains nnx.RNN(cell) and head ...
encoder = slstm.standardising(data.train.x)
model = slstm.from_nnx([nnx.RNN(cell), head], pooling=('mean',),
                       encoder=encoder)  # yapf: disable
how = slstm.TrainConfig(epochs=2)
for state, metrics in slstm.fit(model, data.train, data.validation, config=how):
  print(metrics)
snn = slstm.pick(slstm.trade_off(state.best, data.train.x[:512]),
                 rate=0.2).model
print(slstm.evaluate(state.best, data.test), slstm.evaluate(snn, data.test))
