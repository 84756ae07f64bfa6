"""The lines of Python in the README run as they stand there."""

import pathlib
import re

import jax
import numpy as np

import slstm

README = pathlib.Path(__file__).resolve().parents[1] / 'README.md'


def test_the_ten_lines(tmp_path, monkeypatch, capsys):
  code, = re.findall('```python\n(.*?)```',
                     README.read_text(encoding='utf-8'),
                     flags=re.DOTALL)
  config = slstm.Config(pooling=('mean',))
  params = slstm.init(jax.random.key(0), 3, (8,), 4, config)
  monkeypatch.chdir(tmp_path)
  slstm.save_model(tmp_path / 'runs/demo/hard/model', params, config)
  x = np.random.default_rng(0).normal(size=(6, 10, 3)).astype(np.float32)
  names = {'x_train': x, 'x_test': x[:, :5]}
  exec(code, names)  # pylint: disable=exec-used
  assert names['labels'].shape == (5,)
  assert names['snn'].params.layers[0].neurons.present == ('o', 'c')
  assert names['energy'][2].total > names['energy'][1].total > 0
  assert 'mse_held_out' in capsys.readouterr().out
