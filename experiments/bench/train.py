r"""Times one training step of LSTMs, of spiking LSTMs, and of other libraries.

  python -m experiments.bench.train --workdir=runs/bench_train
  python -m experiments.bench.train --steps=1,2,4,8 --hidden=512 --layers=2 \
      --executors=stacked,wavefront --workdir=runs/bench_train_512

A step of this library is `slstm.train.train_step` with the default recipe:
loss, gradient, clipping, AdamW and the moving average. One of another library
is forward, backward and Adam. The floor is the matrix products of both passes.

The columns are those of `experiments.bench.executor`, which also says what to
set for a CPU and for a GPU. Memory is what the compiler plans for the step; the
step of N = 784, H = 512 needs tens of GB.
"""

from experiments.bench import main

if __name__ == '__main__':
  main.main(('stacked',), training=True, steps='1,2')
