r"""Times exported models on this machine, beside LSTMs of other libraries.

  python -m experiments.bench_host --config=experiments/configs/har.py \
    --source=runs/har --names=standard,tuned_T1,tuned_sd_T1 \
    --workdir=runs/har/host

Models of a pipeline are quantised, exported, compiled at -O3 for this CPU and
timed one element at a time, in turns with our own jitted step, torch.nn.LSTM
and ONNX Runtime's LSTM in float32 and int8 (`pip install 'slstm[host]'`). The
first model has to be a standard LSTM, the one that those libraries have, too.
`experiments.bench.host` says how each is driven.

Everything runs on one thread of one CPU. A run in which one of them does not
give the outputs of its model ends with an error.
"""

import pathlib
import shlex

from absl import flags

from experiments import bench_mcu
from experiments import main
from experiments import runs
from experiments.bench import host
from experiments.bench import measure
from experiments.config import Experiment
from experiments.datasets import base
from experiments.reporting import times

_SETTLE = 0.02  # s


def run(experiment: Experiment, dataset: base.DataSet,
        workdir: pathlib.Path) -> None:
  """Writes metrics.json and report.md into the work directory."""
  given = flags.FLAGS
  host.use_one_cpu()
  models, calibration, x = bench_mcu.chosen(experiment, dataset)
  measured = host.measure_all(models, calibration, x,
                              shlex.split(given.compiler),
                              seconds=given.seconds, settle=_SETTLE
                             )  # yapf: disable
  made = {'cpu': host.cpu(), 'environment': measure.environment(),
          'experiment': runs.as_dict(experiment), 'sequences': len(x),
          'hidden': [k.num_units for k in models[given.names[0]].layers],
          **measured}  # yapf: disable
  runs.write_json(workdir / 'metrics.json', made)
  text = times.report(made)
  runs.replace(workdir / 'report.md', text.encode())
  print(text)


if __name__ == '__main__':
  bench_mcu.define_flags()
  flags.DEFINE_float('seconds', 20.0, 'Of rounds, after which no other begins.',
                     0.0)
  flags.DEFINE_string(
      'compiler', '', "C compiler, such as clang or 'python -m ziglang cc'; by "
      'default gcc, clang or cc on PATH, else ziglang.')
  main.main(run, reads=('data', 'conversion.calibration'))
