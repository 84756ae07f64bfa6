r"""Times the inference of LSTMs, of spiking LSTMs by executor and T, of peers.

  python -m experiments.bench_executor --work_dir=runs/bench
  python -m experiments.bench_executor --grid=full --work_dir=runs/bench_full
  python -m experiments.bench_executor --elements=100 --batch=1 --steps=1,8 \
      --executors=stacked,wavefront --peers= --work_dir=runs/bench_1

Needs no data set. All models of a shape take turns in one process, and are
compared with one another only. Written are time against T for every executor,
the hiding factor time(T) / time(1), and every time over those of this library's
LSTM, of other libraries (`pip install slstm[bench]` for those of PyTorch) and
of the bare matrix products, which is the floor.

The small grid takes some minutes on two cores, the full one hours. On a CPU set
what `make environment` prints, on a GPU XLA_PYTHON_CLIENT_PREALLOCATE to
false if PyTorch is to run there, too.
"""

from experiments.benchmarks import bench_main
from slstm import executor

_SMALL = {
    'elements': (100,),
    'features': (40,),
    'batch': (1, 128),
    'hidden': (128,),
    'layers': (1, 2),
    'steps': (1, 2, 4, 8),
}

if __name__ == '__main__':
  bench_main.main(_SMALL, executor.FORWARD, training=False)
