"""A torch LSTM on UCI HAR becomes a spiking network, without fine-tuning."""
import torch

from experiments.datasets.har import Har
import slstm

data = Har().load()
lstm, head = torch.nn.LSTM(18, 32, batch_first=True), torch.nn.Linear(32, 6)
module = torch.nn.ModuleList([lstm, head])
optimiser = torch.optim.Adam(module.parameters(), lr=0.01)
x, y = (torch.tensor(array) for array in data.train[:2])
for index in torch.randperm(len(x)).split(64):
  optimiser.zero_grad()
  logits = head(lstm(x[index])[0].mean(1))
  torch.nn.functional.cross_entropy(logits, y[index].long()).backward()
  optimiser.step()

model = slstm.from_torch(module, pooling=('mean',))
snn = slstm.pick(slstm.trade_off(model, data.train.x[:512]), rate=0.2).model
print(slstm.evaluate(model, data.test), slstm.evaluate(snn, data.test))
