"""Nothing is silently wrong: bad values, models, folders, data and flags.

Each entry of a table says what is done and what comes of it: the text of a
ValueError, of another error, or of a warning.
"""

import dataclasses
import json
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import config as config_lib
from experiments import latency
from experiments import runs
from experiments import stages
from experiments.config import Experiment
from experiments.datasets import base
from experiments.datasets.har import Har
from experiments.datasets.mnist import Mnist
from experiments.datasets.npz import Npz
from experiments.datasets.speech_commands import SpeechCommands
import slstm
from slstm import borders
from slstm import checkpoint
from slstm import neurons
from slstm import train
from tests import binaries

BAD = (np.nan, np.inf, -np.inf)
FAST = slstm.TrainConfig(epochs=3, batch_size=8)
ANY: Any = None
CONSTRAIN: Any = slstm.constrain  # with arguments that mypy would refuse


def data():
  """16 sequences whose label is the sign of their first feature."""
  x = np.random.default_rng(0).normal(size=(16, 3, 3)).astype(np.float32)
  return slstm.Data(x, (x[:, :, 0].sum(1) > 0).astype(np.int32))


def with_x(x, example=2, value=np.nan):
  """The same with a value in one example."""
  x = np.array(x)
  x[example, 1, 1] = value
  return x


def lstm(**options):
  return slstm.init(jax.random.key(0),
                    num_features=3,
                    hidden_sizes=(4,),
                    num_outputs=2,
                    **options)


def with_sites(model, config=slstm.Config(), **sites):
  layer, = model.layers
  return dataclasses.replace(
      model,
      config=config,
      layers=(layer._replace(neurons=slstm.Sites(**sites)),))


def lif(**changes):
  full = {'v_th': 1.0, 'v_0': 0.0, 'amplitude': 1.0, 'leak': 0.9, **changes}
  return slstm.LIF(**{k: jnp.full((4,), v) for k, v in full.items()})


def snn(num_steps=2, **changes):
  """LIF neurons at o and c, of which those at c have other parameters."""
  config = slstm.Config(num_steps=num_steps)
  return with_sites(lstm(), config, o=lif(), c=lif(**changes))


def sigma_delta(theta=0.1, level=0.7):
  full = lambda value: jnp.full((4,), value)
  return with_sites(lstm(), h=slstm.SigmaDelta(full(theta), full(level)))


def with_std(value):
  model = lstm()
  encoder = model.encoder._replace(std=jnp.asarray([1.0, value, 1.0]))
  return model.replace(encoder=encoder)


def with_weight(value, model=None):
  model = model or lstm()
  w = model.readout.w.at[3, 1].set(value)
  return model.replace(readout=model.readout._replace(w=w))


def fit(model=None, train_set=None, validation=None, teacher=None, augment=None,
        **changes):  # yapf: disable
  share = 0.5 if teacher else 0.0
  config = dataclasses.replace(FAST, distillation=share, **changes)
  return list(
      slstm.fit(model or lstm(),
                train_set or data(),
                validation or data(),
                config=config,
                augment=augment,
                teacher=teacher))


def load(folder, model):
  """Loads a model that `save_model` would have refused."""
  slstm.save_model(folder, snn() if model.is_spiking else lstm())
  if model.layers[0].neurons.h is not None:
    shutil.rmtree(folder)
    slstm.save_model(folder, sigma_delta())
  shutil.rmtree(folder / '0')
  checkpoint.save(folder, 0, model)
  return slstm.load_model(folder)


# --- Values -------------------------------------------------------------------

# Whatever takes inputs, by what its error begins with.
TAKE_X = {
    'standardising: x': slstm.standardising,
    'evaluate: data.x': lambda x: slstm.evaluate(lstm(),
                                                 data()._replace(x=x)),
    'fit: train.x': lambda x: fit(train_set=data()._replace(x=x)),
    'fit: validation.x': lambda x: fit(validation=data()._replace(x=x)),
    'calibrate: x': lambda x: slstm.calibrate(lstm(), x),
    'trade_off: x': lambda x: slstm.trade_off(lstm(), x),
    'select: x': lambda x: slstm.select(lstm(), ANY, x),
    'count_operations: x': lambda x: slstm.count_operations(lstm(), x),
}
INPUTS = {
    'NaN': (with_x, 'of 1 examples is not finite, the first at index 2'),
    'inf': (lambda x: with_x(x, value=np.inf), 'of 1 examples is not finite'),
    'beyond float32': (lambda x: with_x(x.astype(np.float64), value=1e300),
                       r'of 1 examples is not finite, .* \(as float32\)'),
    'complex': (lambda x: x + 1j, 'has dtype complex.*; expected real numbers'),
    'beyond int32': (lambda x: (x > 0) * 2**40,
                     r'of 16 examples is out of range, .* \(as int32\)'),
}  # yapf: disable


@pytest.mark.parametrize('what', INPUTS)
@pytest.mark.parametrize('name', TAKE_X)
def test_inputs_that_no_network_can_take_are_refused(name, what):
  change, message = INPUTS[what]
  with pytest.raises(ValueError, match=f'^{name} {message}'):
    TAKE_X[name](change(data().x))


# Whatever takes models; the second is a folder of a test.
TAKE_MODEL = {
    'evaluate: model': lambda model, _: slstm.evaluate(model, data()),
    'fit: model': lambda model, _: fit(model),
    'fit: teacher': lambda model, _: fit(teacher=model),
    'save_model: model': lambda model, folder: slstm.save_model(folder, model),
    '/': lambda model, folder: load(folder, model),
    'count_operations: model': lambda model, _: slstm.count_operations(
        model, data().x),
}  # yapf: disable
OF_SOURCES = {
    'calibrate: model': lambda model, _: slstm.calibrate(model,
                                                         data().x),
    'trade_off: model': lambda model, _: slstm.trade_off(model,
                                                         data().x),
}
SOURCES = {
    'a weight NaN': (lambda: with_weight(np.nan), r'readout.w are not finite'),
    'a weight inf': (lambda: with_weight(np.inf), r'index \(3, 1\)'),
    'std 0': (lambda: with_std(0.0), r'encoder.std is 0 at index \(1,\); '
                                     r'expected numbers > 0'),
    'std -1': (lambda: with_std(-1.0), 'encoder.std is -1'),
    'std inf': (lambda: with_std(np.inf), 'encoder.std are not finite'),
}  # yapf: disable
SPIKING = {
    'leak 1.056': (lambda: snn(leak=1.056),
                   r'neurons.c.leak is 1.056 at index \(0,\); expected numbers '
                   r'in 0..1. Did an optimiser of your own .*unconstrain'),
    'leak -0.1': (lambda: snn(leak=-0.1), 'leak is -0.1'),
    'v_th 0': (lambda: snn(v_th=0.0), 'v_th is 0 .*; expected numbers > 0'),
    'v_th -1': (lambda: snn(v_th=-1.0), 'v_th is -1'),
    'v_0 NaN': (lambda: snn(v_0=np.nan), 'v_0 are not finite'),
    'theta 0': (lambda: sigma_delta(theta=0.0), 'h.theta is 0 .*numbers > 0'),
    'level 0.3': (lambda: sigma_delta(level=0.3), 'level is 0.3 .*in 0.5..1'),
    'level 1.5': (lambda: sigma_delta(level=1.5), 'level is 1.5 .*in 0.5..1'),
}  # yapf: disable
MODELS = [
    *((name, what, SOURCES) for name in {**TAKE_MODEL, **OF_SOURCES}
      for what in SOURCES),
    *((name, what, SPIKING) for name in TAKE_MODEL for what in SPIKING),
]  # yapf: disable


@pytest.mark.parametrize(
    'name, what, table',
    [pytest.param(*entry, id=f'{entry[0]}-{entry[1]}') for entry in MODELS])
def test_models_out_of_range_are_refused_where_they_enter(
    name, what, table, tmp_path):
  made, message = table[what]
  with pytest.raises(ValueError, match=f'^{name}.*{message}'):
    {**TAKE_MODEL, **OF_SOURCES}[name](made(), tmp_path / 'model')


@pytest.mark.parametrize('make', [lstm, snn, sigma_delta])
@pytest.mark.parametrize('bad', BAD)
def test_what_is_not_finite_is_seen_in_the_outputs(make, bad):
  """Of `apply` and `predict`, which do not look at values, in that example."""
  model, x = make(), data().x
  expected = np.asarray(slstm.predict(model, x))
  found = np.asarray(slstm.predict(model, with_x(x, 2, bad)))
  assert np.isnan(found[2]).all()
  rest = np.arange(len(x)) != 2
  np.testing.assert_array_equal(found[rest], expected[rest])


@pytest.mark.parametrize('executor', ['sequential', 'lean', 'wavefront'])
def test_nan_passes_neurons_in_all_schedules(executor):
  executor = getattr(slstm, executor)
  x = with_x(data().x)
  found = np.asarray(slstm.predict(snn(), x, executor=executor))
  assert np.isnan(found[2]).all() and not np.isnan(found[3:]).any()


def test_neurons_that_training_can_reach_are_accepted():
  raw = jnp.asarray([-80.0, -20.0, 20.0, 80.0])
  neuron = neurons.constrain(slstm.LIF(raw, raw, raw, raw))
  assert neuron.leak[-1] == 1  # rounded
  borders.check_neurons(neuron, 'here')
  borders.check_neurons(neurons.constrain(slstm.SigmaDelta(raw, raw)), 'here')
  borders.check_neurons(neurons.integrate_and_fire(True), 'here')


def odd(value) -> Any:
  """An argument that mypy would refuse."""
  return value


def compiled(model):
  """What `apply` gives for this model, of x alone."""
  return jax.jit(lambda x: slstm.apply(model, x).outputs)


LISTS = data().x.tolist()
OTHERS = {
    'lists to evaluate': (lambda: slstm.evaluate(lstm(), data()._replace(
        x=LISTS)), '^evaluate: data.x is of type list; expected an array. Of'),
    'lists to predict': (lambda: slstm.predict(lstm(), odd(LISTS)),
                         '^predict: x is of type list'),
    'lists to apply': (lambda: slstm.apply(lstm(), odd(LISTS)),
                       '^apply: x is of type list'),
    'lists to calibrate': (lambda: slstm.calibrate(lstm(), odd(LISTS)),
                           '^calibrate: x is of type list'),
    'lists to standardising': (lambda: slstm.standardising(LISTS),
                               '^standardising: x is of type list'),
    'labels in a list': (lambda: fit(train_set=data()._replace(
        y=data().y.tolist())), '^fit: train.y is of type list'),
    'no labels': (lambda: slstm.evaluate(lstm(), data()._replace(y=ANY)),
                  '^evaluate: data.y is of type NoneType'),
    'one label': (lambda: slstm.evaluate(lstm(), data()._replace(
        y=np.int32(1))), '16 examples in x and no in y'),
    'a tuple as data': (lambda: slstm.evaluate(lstm(), odd(tuple(data()))),
                        r'evaluate: data is of type tuple; .* slstm.Data'),
    'nothing to standardise': (lambda: slstm.standardising(data().x[:0]),
                               r'^standardising: x has shape \(0, 3, 3\)'),
    'nothing to quantise': (lambda: slstm.quantise(lstm(), data().x[:0]),
                            r'^quantise: x has shape \(0, 3, 3\)'),
    'nothing to predict': (lambda: slstm.predict(lstm(), data().x[:0]),
                           r'^apply: x has shape \(0, 3, 3\)'),
    'units that are no list': (lambda: slstm.init(
        jax.random.key(0), num_features=3, hidden_sizes=odd(4),
        num_outputs=2), 'init: hidden_sizes is 4; expected the units of each'),
    'a negative seed': (lambda: slstm.TrainConfig(seed=-1), 'seed is -1; exp'),
    'a seed too large': (lambda: slstm.TrainConfig(seed=2**32), 'seed is 4294'),
    'half an epoch': (lambda: slstm.TrainConfig(epochs=odd(1.5)),
                      'epochs is 1.5; expected an integer >= 1'),
    'predict with a leak of 2': (lambda: slstm.predict(snn(leak=2.0), data().x),
                                 '^predict: model: .*leak is 2 at'),
    'apply with a leak of 2': (lambda: slstm.apply(snn(leak=2.0), data().x),
                               '^apply: model: .*leak is 2 at'),
    'apply, compiled for a model': (lambda: compiled(snn(leak=2.0))(data().x),
                                    '^apply: model: .*leak is 2 at'),
    'a target NaN': (lambda: fit(train_set=data()._replace(
        y=np.where(np.arange(16) == 3, np.nan, 0))),
                     '^fit: train.y of 1 examples is not finite, .* index 3'),
    'a label beyond int32': (lambda: slstm.evaluate(lstm(), data()._replace(
        y=data().y * np.int64(2**40))), '^evaluate: data.y of .* out of range'),
    'init with std 0': (lambda: lstm(encoder=slstm.Encoder(
        jnp.zeros(3), jnp.zeros(3))), '^init: encoder.std is 0'),
    'from_linen with std 0': (
        lambda: slstm.from_linen([{
            **{f'i{g}': {'kernel': np.ones((3, 2))} for g in 'ifgo'},
            **{f'h{g}': {'kernel': np.ones((2, 2)), 'bias': np.ones(2)}
               for g in 'ifgo'}
        }], {'kernel': np.ones((2, 2)), 'bias': np.ones(2)},
                                 encoder=slstm.Encoder(jnp.zeros(3),
                                                       jnp.zeros(3))),
        '^from_linen: encoder: encoder.std is 0'),
    'a model that does not fit its statistics': (
        lambda: CONSTRAIN(slstm.unconstrain(lstm())), 'source'),
    'degrees of a few metres': (
        lambda: slstm.standardising(48 + 1e-6 * data().x.astype(np.float64)),
        'standardising: feature 0 of x has mean 48 and std .*float32 resolves'),
    'less than float32 has': (
        lambda: slstm.standardising(1e-42 * data().x.astype(np.float64)),
        'standardising: feature 0 .*multiply by one'),
}  # yapf: disable


@pytest.mark.parametrize('what', OTHERS)
def test_other_values_are_refused(what):
  act, message = OTHERS[what]
  with pytest.raises((ValueError, TypeError), match=message):
    act()


@pytest.mark.parametrize('scale', [1e30, 1e-30, 1.0])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_statistics_of_any_scale_are_those_of_float64(scale, dtype):
  x = (scale * (data().x + 3)).astype(dtype)
  encoder = slstm.standardising(x)
  wide = x.astype(np.float64)
  np.testing.assert_allclose(encoder.mean, wide.mean((0, 1)), rtol=1e-5)
  np.testing.assert_allclose(encoder.std, wide.std((0, 1)), rtol=1e-5)
  model = lstm(encoder=encoder)
  expected = lstm(encoder=slstm.standardising(data().x + 3))
  np.testing.assert_allclose(slstm.predict(model, x),
                             slstm.predict(expected,
                                           data().x + 3),
                             rtol=1e-3,
                             atol=1e-5)


# --- Training -----------------------------------------------------------------

DIVERGING = {
    'a learning rate of 1e9': (lambda: fit(learning_rate=1e9),
                               ', epoch .*learning_rate, which is 1e.09'),
    'one of 1e30': (lambda: fit(learning_rate=1e30), 'learning_rate'),
    'a decay of 1e9': (lambda: fit(weight_decay=1e9), 'learning_rate'),
    'neurons at 1e12': (lambda: fit(snn(), neuron_rate=1e12), 'neuron_rate'),
    'NaN by augmentation': (lambda: fit(augment=lambda key, x: x * np.nan),
                            'of step 1, epoch 1, is nan; .*augmentation'),
}  # yapf: disable


@pytest.mark.parametrize('what', DIVERGING)
def test_a_training_that_diverges_says_where_and_why(what):
  act, message = DIVERGING[what]
  with pytest.raises(FloatingPointError, match=f'^fit: .*loss .*{message}'):
    act()


def test_a_loss_of_validation_data_alone_that_diverges_is_named(monkeypatch):
  for loss in (np.nan, 1e20):
    found = train.Evaluation(0.5, loss)
    monkeypatch.setattr(train, '_evaluate', lambda *_, f=found, **__: f)
    with pytest.raises(FloatingPointError,
                       match='the validation loss after step 2, epoch 1, is '
                       '(nan|1e.20); expected a finite one'):
      fit()


# --- Stages -------------------------------------------------------------------


def arrays(**changes):
  x, y, _ = data()
  return {'x': np.concatenate([x] * 3), 'y': np.concatenate([y] * 3), **changes}


@pytest.fixture(scope='module', name='npz')
def _npz(tmp_path_factory):
  path = tmp_path_factory.mktemp('data') / 'mine.npz'
  np.savez(path, **arrays())
  return path


@pytest.fixture(name='folder')
def _folder(npz, tmp_path):
  """Finished stages hard, T2 and T4, as their binaries write them."""
  experiment, dataset = of(npz)
  digest = base.digest(dataset)

  def write(name, stage, model, *sections, source=None):
    read = runs.sections(experiment, 'data', 'model', 'ann', 'seed', *sections)
    if sections:
      read['conversion']['num_steps'] = model.config.num_steps
    sources = {'source': tmp_path / source} if source else {}
    digests = {'source': checkpoint.digest(lstm())} if source else {}
    runs.begin(tmp_path / name, stage, read, digest, sources, (), digests)
    stages._write_model(tmp_path / name, model)
    runs.write_json(tmp_path / name / 'metrics.json', {})

  write('hard', 'train_ann', lstm())
  for steps in (2, 4):
    write(f'T{steps}', 'convert', snn(steps), 'conversion', source='hard')
  return tmp_path


def of(npz, **changes):
  """(experiment, data set)."""
  training = {'epochs': 1, 'batch_size': 8}
  experiment = config_lib.replace(Experiment(Npz(path=str(npz))),
                                  model={'hidden': (4,)},
                                  ann=training,
                                  snn=training,
                                  **changes)
  return experiment, base.load(experiment.data)


def replace_model(folder, name, other):
  shutil.rmtree(folder / name / 'model')
  shutil.copytree(folder / other / 'model', folder / name / 'model')


def edit(path, old, new):
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new))


def retrained(folder):
  """Other parameters of the same shape and config."""
  shutil.rmtree(folder / 'T2' / 'model')
  slstm.save_model(folder / 'T2' / 'model', snn(leak=0.8))


def told_retrained(folder):
  retrained(folder)
  runs.record(folder / 'T2', model_digest=checkpoint.digest(snn(leak=0.8)))


SWAPS = {
    "T4's model": (lambda f: replace_model(f, 'T2', 'T4'),
                   'T2 holds a model with num_steps 4, .* config.json says 2'),
    'the LSTM': (lambda f: replace_model(f, 'T2', 'hard'),
                 'T2 holds a model with num_steps 1'),
    'model.json edited': (lambda f: edit(f / 'T2/model/model.json',
                                         '"num_steps": 2', '"num_steps": 4'),
                          'T2 holds a model with num_steps 4'),
    'config.json edited': (lambda f: edit(f / 'T2/config.json',
                                          '"num_steps": 2', '"num_steps": 4'),
                           'T2/config.json was edited'),
    'other parameters': (retrained, r'T2/model is not what its stage wrote: '
                                    r'.*\(model_digest\)'),
    'no model': (lambda f: shutil.rmtree(f / 'T2' / 'model'), 'no model in'),
}  # yapf: disable


@pytest.mark.parametrize('what', SWAPS)
def test_a_model_that_is_not_that_of_its_folder_is_refused(what, folder, npz):
  change, message = SWAPS[what]
  change(folder)
  experiment, dataset = of(npz)
  for act in (lambda: stages.evaluate(dataset, folder / 'T2', folder / 'w'),
              lambda: stages.train_snn(experiment, dataset, folder / 'T2',
                                       folder / 'w'),
              lambda: latency.latency(experiment, dataset,
                                      {'T2': folder / 'T2'}, folder / 'l')
             ):  # yapf: disable
    with pytest.raises((ValueError, OSError), match=message):
      act()
  assert not (folder / 'w').exists()


def test_a_folder_of_before_there_were_digests_is_judged_by_its_shape(folder):
  path = folder / 'T2' / 'config.json'
  config = json.loads(path.read_text())
  for key in ('identity', 'made_from', 'model_digest'):
    del config[key]
  path.write_text(json.dumps(config))
  stages.read_model(folder / 'T2')
  edit(path, '"num_steps": 2', '"num_steps": 4')
  with pytest.raises(ValueError, match='num_steps 2, .* config.json says 4'):
    stages.read_model(folder / 'T2')


KINDS = {
    'train_snn of an LSTM': (
        lambda e, d, f: stages.train_snn(e, d, f / 'hard', f / 'w'),
        'hard holds an LSTM, .*; expected an SNN, as convert writes it'),
    'convert of an SNN': (
        lambda e, d, f: stages.convert(e, d, f / 'T2', f / 'w'),
        'T2 holds an SNN, .*; expected an LSTM, as train_ann writes it'),
    'select of an SNN': (
        lambda e, d, f: stages.select(e, d, f / 'T2', f / 'w'),
        'T2 holds an SNN'),
    'an SNN as teacher': (
        lambda e, d, f: stages.train_snn(
            config_lib.replace(e, snn={'distillation': 0.5}), d, f / 'T2',
            f / 'w', f / 'T4'), 'T4 holds an SNN'),
    'a target for an analog input': (
        lambda e, d, f: stages.train_snn(
            config_lib.replace(e, snn={'input_target': 0.5}), d, f / 'T2',
            f / 'w'), 'config.snn.input_target is 0.5, but the input of '),
}  # yapf: disable


@pytest.mark.parametrize('what', KINDS)
def test_a_stage_that_cannot_read_its_source_says_what_it_is(what, folder, npz):
  act, message = KINDS[what]
  with pytest.raises(ValueError, match=message):
    act(*of(npz), folder)
  assert not (folder / 'w').exists()


def test_a_stage_whose_source_has_changed_since_is_not_taken_for_it(
    folder, npz):
  """The hash of what a stage reads is in its config.json."""
  _, dataset = of(npz)
  read = {'source': stages.read_model(folder / 'T2')}
  begin = lambda: stages._begin(folder / 'test', 'evaluate', {}, read)
  assert not begin()
  config = json.loads((folder / 'test' / 'config.json').read_text())
  made_from = config['made_from']['source']
  assert made_from['model_digest'] == checkpoint.digest(snn())
  assert not begin()
  runs.finish(folder / 'test', {})
  told_retrained(folder)
  read = {'source': stages.read_model(folder / 'T2')}
  with pytest.raises(ValueError, match='different in what its sources are'):
    begin()


def test_a_lost_history_is_told(tmp_path):
  path = tmp_path / 'history.json'
  with pytest.warns(UserWarning, match='has 0 of 2 .*remove the folder'):
    assert not stages._history(path, 2)
  runs.write_json(path, [{'epoch': epoch} for epoch in (1, 2, 3)])
  assert stages._history(path, 2) == [{'epoch': 1}, {'epoch': 2}]


# --- Data ---------------------------------------------------------------------

X, Y = arrays().values()
GPS = X.astype(np.float64) * [1e-6, 1.0, 1.0] + [48.0, 0.0, 0.0]
LONE = np.where(np.arange(48) == 3, 2, Y)
DATA = {
    'complex': ({'x': X + 1j}, ValueError, 'x has dtype complex.*magnitude'),
    'objects': ({'x': X > 0}, ValueError, 'x has dtype bool'),
    'beyond float32': ({'x': X.astype(np.float64) * 1e300}, ValueError,
                       'as float32: x has a NaN or infinite value in row 0'),
    'degrees': ({'x': GPS}, UserWarning,
                r'feature 0 \(mean 47\..* changes. The mean .* subtracted'),
    'seconds since 1970': ({'x': np.round(X * [1e2, 1, 1] + [17e8, 0, 0])
                            .astype(np.int64)}, UserWarning, 'feature 0'),
    'a constant feature': ({'x': X * [1, 0, 1]}, UserWarning,
                           'feature 1 of 3 never changes'),
    'labels 1..K': ({'y': Y + 1}, UserWarning, 'example of class 0 .*unique'),
    'gaps': ({'y': Y * 7}, UserWarning, r'no example of class 1, 2, 3, 4, 5, '
                                        r'\.\. \(of 8 classes, 0\.\.7\)'),
    'absent from training': ({'y': LONE, 'split': np.where(
        LONE == 2, 2, np.arange(48) % 3)}, UserWarning, 'example of class 2'),
    'one class': ({'y': Y * 0}, ValueError, 'all .* labels are 0; .* two'),
    'a label of 2^33': ({'y': Y * np.int64(2**33)}, ValueError,
                        'y is 8589934592 in row .* of 48; .*unique'),
    'a label of 2^31': ({'y': Y * np.int64(2**31)}, ValueError, 'y is 214748'),
    'a label per example': ({'y': Y + 47}, ValueError, 'y is 48 in row '),
}  # yapf: disable


@pytest.mark.parametrize('what', DATA)
def test_odd_data_are_refused_or_told(what, tmp_path):
  changes, kind, message = DATA[what]
  np.savez(tmp_path / 'mine.npz', **arrays(**changes))
  expected = pytest.warns if kind is UserWarning else pytest.raises
  with expected(kind, match=message):
    base.load(Npz(path=str(tmp_path / 'mine.npz')))


@pytest.mark.parametrize('scale', [1e30, 1e-30])
def test_data_of_any_scale_are_taken(scale, tmp_path):
  np.savez(tmp_path / 'mine.npz', **arrays(x=scale * X.astype(np.float64)))
  train = base.load(Npz(path=str(tmp_path / 'mine.npz'))).train
  encoder = slstm.standardising(train.x)
  np.testing.assert_allclose(encoder.std / scale, X.std((0, 1)), rtol=0.2)


def test_degrees_are_as_good_as_centred_data(tmp_path):
  np.savez(tmp_path / 'mine.npz', **arrays(x=GPS))
  with pytest.warns(UserWarning, match='feature 0'):
    found = base.load(Npz(path=str(tmp_path / 'mine.npz'))).train.x
  np.savez(tmp_path / 'mine.npz', **arrays())
  expected = base.load(Npz(path=str(tmp_path / 'mine.npz'))).train.x
  offset = expected[..., 0] - 1e6 * found[..., 0]
  np.testing.assert_allclose(offset, offset.mean(), atol=1e-3)
  np.testing.assert_array_equal(found[..., 1:], expected[..., 1:])


# --- Options and flags --------------------------------------------------------

OPTIONS = {
    'an order that is none': (lambda: Mnist(order='foo'), "order is 'foo'"),
    'a mask longer than a clip': (lambda: SpeechCommands(time_mask=99),
                                  'time_mask is 99; expected at most 98'),
    'more features than there are': (lambda: SpeechCommands(feature_mask=41),
                                     'feature_mask is 41; .* most 40'),
    'a shift out of the clip': (lambda: SpeechCommands(time_shift=98),
                                'time_shift is 98; expected at most 97'),
    'turns beyond pi': (lambda: Har(rotation=4.0), 'rotation is 4.0'),
    'one neuron per layer of sigma-delta ones': (
        lambda: config_lib.Conversion(neuron='sigma_delta', sites=('h',),
                                      num_steps=1, granularity='layer'),
        'granularity is layer; expected unit'),
}  # yapf: disable


@pytest.mark.parametrize('what', OPTIONS)
def test_options_that_do_nothing_are_refused(what):
  act, message = OPTIONS[what]
  with pytest.raises(ValueError, match=message):
    act()


def test_noise_that_drowns_the_data_is_told():
  with pytest.warns(UserWarning,
                    match='augmentation moves .* by 1e.09 .*lower'):
    base.load(Har(noise=1e9))


FLAGS = {
    ('train_snn', '--teacher={hard}', '--source={T2}'):
        (1, 'error: --teacher={hard} does nothing, as config.snn.distillation '
            'is 0'),
    ('train_snn', '--source={hard}'): (1, 'error: {hard} holds an LSTM'),
    ('convert', '--source={T2}'): (1, 'error: {T2} holds an SNN'),
    ('evaluate', '--source={swapped}'):
        (1, 'error: {swapped} holds a model with num_steps 4'),
    ('train_ann', '--config.ann.learning_rate=1e9'):
        (1, 'error: fit: the '),
    ('train_ann', '--config.data.path={complex}'):
        (1, 'error: config.data.path={complex}: x has dtype complex'),
    ('train_ann', '--config.data.path={one_class}'):
        (1, 'error: train: all '),
    ('train_ann', '--config.data.path={shifted}', '--config.ann.epochs=0'):
        (1, 'epochs is 0'),
    ('train_snn', '--source={T2}', '--config.conversion.num_steps=4'):
        (1, 'error: --config.conversion.num_steps=4 does nothing here: --source'
            '={T2} was made with 2'),
    ('train_snn', '--source={hard}', '--config.conversion.num_steps=4'):
        (1, 'warning: --config.conversion.num_steps=4 does nothing here'),
    ('train_snn', '--source={T2}', '--config.model.hidden=5'):
        (1, 'error: --config.model.hidden=5 does nothing here'),
    ('train_ann', '--config.ann.batch_size=64'):
        (1, 'error: config.ann.batch_size is 64, but of 48 examples 34 are for '
            'training, 7 for validation, 7 for test; give '
            '--config.ann.batch_size=4. There is no split in the file'),
    ('train_ann', '--config.seed=-1'): (1, 'seed is -1; expected an integer'),
    ('train_ann', '--config.seed=4294967296'): (1, 'seed is 4294967296'),
    ('train_ann', '--workdir='): (1, 'error: flag --workdir=: it is empty'),
    ('train_ann', '--workdir={npz}'):
        (1, 'error: --workdir={npz}: {npz} is a file; expected a folder'),
    ('train_ann', '--workdir={npz}/in/it'): (1, '{npz} is a file; expected'),
    ('train_ann', '--workdir=~nobody_/w'): (1, 'error: flag --workdir=~nobody'),
    ('train_ann', '--workdr=w'): (1, 'Did you mean: workdir ? See --help.'),
    ('train_ann', '--config.data.path={npz}.txt'): (1, 'no such file'),
    ('evaluate',): (1, 'error: --source is missing; see --help.'),
    ('evaluate', '--source='): (1, 'error: flag --source=: it is empty'),
    ('evaluate', '--source={npz}'): (1, 'config.json is absent; run the stage'),
    ('predict', '--source={hard}', '--input={npz}', '--output={npz}'):
        (1, 'error: --output={npz} is there already'),
    ('predict', '--source={hard}', '--input={npz}'):
        (1, 'error: --output is missing; see --help.'),
    ('predict', '--source={hard}', '--input=nowhere.csv', '--output={npz}.csv'):
        (1, 'error: --input=nowhere.csv: no such file'),
    ('predict', '--source={hard}', '--input={wide}', '--output={npz}.csv'):
        (1, 'error: --input={wide}: x has shape (48, 3, 5); expected '),
    ('predict', '--sorce={hard}'): (1, 'Did you mean: source ? See --help.'),
    ('predict',): (1, 'error: --source is missing; see --help. --input is mi'),
    ('predict', '--source=a', '--input=b', '--output=c', 'stray'):
        (1, 'error: unexpected arguments: stray'),
}  # yapf: disable
# Each in a process of its own, but forked, so that none imports all anew.
TRY_ALL = """
import importlib, json, os, runpy, sys
from experiments import main, stages, train_snn
for module in ('train_ann', 'convert', 'evaluate', 'predict'):
  importlib.import_module('experiments.' + module)
for binary, *flags in json.loads(sys.argv[1]):
  if not os.fork():
    sys.argv = [binary, *flags]
    if binary == 'train_snn':
      main.main(train_snn._run, reads_source=True,
                reads=('data', 'snn', 'seed'))
    runpy.run_module('experiments.' + binary, run_name='__main__')
  print('rc', os.waitstatus_to_exitcode(os.wait()[1]), file=sys.stderr)
"""


def test_binaries_end_with_one_line_and_write_nothing(folder, npz, tmp_path):
  shutil.copytree(folder / 'T2', folder / 'swapped')
  replace_model(folder, 'swapped', 'T4')
  for name, changes in (('complex', {'x': X + 1j}), ('one_class', {'y': Y * 0}),
                        ('wide', {'x': np.ones((48, 3, 5))}),
                        ('shifted', {'y': Y + 1})):  # yapf: disable
    np.savez(tmp_path / name, **arrays(**changes))
  names = {name: folder / name for name in ('hard', 'T2', 'swapped')}
  names |= {name: tmp_path / f'{name}.npz'
            for name in ('complex', 'one_class', 'shifted', 'wide')
           } | {'npz': npz}  # yapf: disable
  always = ['--config=experiments/configs/npz.py', '--config.model.hidden=4',
            '--config.ann.batch_size=8', '--config.snn.batch_size=8',
            f'--config.data.path={npz}'
           ]  # yapf: disable
  of = lambda binary, index: [] if binary == 'predict' else [
      *always, f'--workdir={folder}/w{index}']  # yapf: disable
  commands = [[binary, *of(binary, index),
               *(flag.format(**names) for flag in flags)]
              for index, (binary, *flags) in enumerate(FLAGS)]  # yapf: disable
  _, printed = binaries.run_python('-c', TRY_ALL, json.dumps(commands))
  assert 'Traceback' not in printed, printed
  parts = printed.split('rc ')
  assert len(parts) == len(FLAGS) + 1, printed
  for index, (status, message) in enumerate(FLAGS.values()):
    assert message.format(**names) in parts[index], printed
    assert parts[index + 1].startswith(str(status)), printed
