r"""Times one training step of LSTMs, of spiking LSTMs, and of other libraries.

  python -m experiments.bench_train --work_dir=runs/bench_train
  python -m experiments.bench_train --steps=1,2,4,8 --hidden=512 --layers=2 \
      --executors=stacked,wavefront --work_dir=runs/bench_train_512

A step of this library is `slstm.train.train_step` with the default recipe:
loss, gradient, clipping, AdamW and the moving average. One of another library
is forward, backward and Adam. The floor is the matrix products of both passes.

The columns are those of `experiments.bench_executor`, which also says what to
set for a CPU and for a GPU. Memory is what the compiler plans for the step; the
largest shapes of --grid=full need tens of GB.
"""

from experiments.benchmarks import bench_main

_SMALL = {
    'elements': (100,),
    'features': (40,),
    'batch': (128,),
    'hidden': (128,),
    'layers': (1,),
    'steps': (1, 2),
}

if __name__ == '__main__':
  bench_main.main(_SMALL, ('stacked',), training=True)
