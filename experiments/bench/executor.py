r"""Times the inference of LSTMs, of spiking LSTMs by executor and T, of peers.

  python -m experiments.bench.executor --workdir=runs/bench
  python -m experiments.bench.executor --elements=28,100,784 --hidden=128,512 \
      --workdir=runs/bench_all
  python -m experiments.bench.executor --elements=100 --batch=1 --steps=1,8 \
      --executors=stacked,wavefront --peers= --workdir=runs/bench_1

Needs no data set. All models of a shape take turns in one process, and are
compared with one another only. The report has time against T for every
executor, the hiding factor time(T) / time(1), and every time over those of this
library's LSTM, of other libraries (`pip install slstm[bench]` for those of
PyTorch) and of the bare matrix products, which are the floor.

The first takes some minutes on two cores, the second hours. On a CPU set what
`make environment` prints, on a GPU XLA_PYTHON_CLIENT_PREALLOCATE to false if
PyTorch is to run there, too.
"""

from experiments.bench import main
from slstm import model

if __name__ == '__main__':
  main.main(model.FORWARD, training=False, batch='1,128', layers='1,2')
