"""Training of ANN and SNN: one step, evaluation, and `fit`.

SNN training moves weights and neurons jointly by the surrogate gradient, with
AdamW, in the unbounded coordinates of `neurons.unconstrain`.

`fit` is deterministic: the order of the examples, augmentation and dropout
depend on the seed, the epoch and the step alone. Continuing from a `FitState`
gives the parameters of an undisturbed run, bit by bit on one machine with the
same number of devices.
"""

import collections
import dataclasses
import functools
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from slstm import borders
from slstm import model as model_lib
from slstm import neurons
from slstm import padding
from slstm import parallel
from slstm import scan
from slstm import types
from slstm.tasks import CLASSIFICATION
from slstm.tasks import Task
from slstm.types import Array, Model, Record

Augment = Callable[[Array, Array], Array]

# The keys of a training stem from this child of the seed's key, which nobody
# gets by splitting that key, as `init` does: keys are split into a few.
_STREAM = 0x7261696E
# Steps that may be under way before the loss of the first of them is awaited.
_LAG = 8
# A loss so many times that of a network that has learnt nothing has diverged.
_DIVERGED = 1e4

# What of a TrainConfig a step computes with: traced, so that another value does
# not compile it again. None is what is not used; warmup and total are in steps.
Numbers = collections.namedtuple(
    'Numbers',
    'learning_rate neuron_rate weight_decay clip_norm label_smoothing average '
    'dropout rates distillation warmup total')
# What is asked of the spikes; None is nothing.
Rates = collections.namedtuple('Rates', 'penalty target input_target')


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """How to train; numbers outside their range are refused."""
  epochs: int = 20
  batch_size: int = 64  # the examples left over in an epoch are dropped
  learning_rate: float = 3e-3  # peak rate of AdamW for weights
  neuron_rate: float = 1.0  # factor on it for neurons; 0 trains weights only
  warmup: float = 0.1  # fraction of all steps with a rising rate, then a cosine
  weight_decay: float = 1e-3  # decoupled decay of the weight matrices
  clip_norm: float = 1.0  # largest global norm of a gradient
  label_smoothing: float = 0.1  # in [0, 1)
  dropout: float = 0.0  # probability of dropping a pooled feature
  rate_penalty: float = 0.0  # weight of the mean spike rate of h in the loss
  # Most spikes per unit of h, and per feature of a spiking input, and element
  # that cost nothing; a rate of r times as much adds r - 1 to the loss.
  rate_target: float | None = None
  input_target: float | None = None
  distillation: float = 0.0  # share of the targets that a teacher gives
  average: float = 0.99  # decay of the moving average that is kept; 0 for none
  executor: scan.Executor = scan.stacked  # how a training step runs the layers
  seed: int = 0  # of the order of examples, augmentation and dropout

  def __post_init__(self):
    for names, expected, fits in (
        ('epochs batch_size', 'an integer >= 1',
         lambda v: isinstance(v, (int, np.integer)) and v >= 1),
        ('seed', 'an integer in 0..2**32 - 1',
         lambda v: isinstance(v, (int, np.integer)) and 0 <= v < 2**32),
        ('learning_rate clip_norm', 'a finite number > 0',
         lambda v: 0 < v < float('inf')),
        ('rate_target input_target', 'a finite number > 0, or None',
         lambda v: v is None or 0 < v < float('inf')),
        ('neuron_rate weight_decay rate_penalty', 'a finite number >= 0',
         lambda v: 0 <= v < float('inf')),
        ('distillation', 'a number in [0, 1]', lambda v: 0 <= v <= 1),
        ('warmup label_smoothing dropout average', 'a number in [0, 1)',
         lambda v: 0 <= v < 1)):  # yapf: disable
      for name in names.split():
        if not fits(value := getattr(self, name)):
          what = f'TrainConfig.{name} is {value}'
          raise ValueError(f'{what}; expected {expected}.')

  def numbers(self, num_updates: int) -> Numbers:
    """What a step of a training of so many steps computes with."""
    return Numbers(
        self.learning_rate, self.neuron_rate, self.weight_decay, self.clip_norm,
        self.label_smoothing, self.average, self.dropout or None,
        Rates(self.rate_penalty or None, self.rate_target,
              self.input_target), self.distillation or None,
        max(1, int(self.warmup * num_updates)), max(2, num_updates))


class Data(NamedTuple):
  """A set of sequences.

  Attributes:
    x: [examples, N, D] float32.
    y: [examples, ...], such as labels; [examples, N] if every element has one.
    lengths: elements of each sequence that are real, [examples]; None for all.
  """
  x: Any
  y: Any
  lengths: Any = None

  def rows(self, which: Any) -> 'Data':
    """Those examples: a slice, indices or a mask."""
    return Data(*(None if part is None else part[which] for part in self))


class Evaluation(NamedTuple):
  """Means over a set: the metric of the task, and the loss."""
  metric: float
  loss: float


class FitState(NamedTuple):
  """All that `fit` needs to continue after an epoch."""
  raw: Model  # parameters in unbounded coordinates
  average: Model  # their moving average
  opt_state: Any
  best: Model  # the one of the best validation metric so far
  best_metric: Array  # 0 before the first epoch
  epoch: Array  # number of finished epochs


def rate(step: Array | int, numbers: Numbers) -> Array:
  """Learning rate of a step, from 1: it rises linearly, a cosine follows."""
  peak, done = numbers.learning_rate, step - 1
  rising = peak - peak * (1 - done / numbers.warmup)
  share = (done - numbers.warmup) / (numbers.total - numbers.warmup)
  falling = peak * (0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(share, 1))))
  return jnp.where(done < numbers.warmup, rising, falling)


def optimiser(numbers: Numbers,
              step: Array | int) -> optax.GradientTransformation:
  """AdamW of a step, with clipping, and a rate for the neurons."""
  decay = numbers.weight_decay
  matrices = lambda tree: jax.tree.map(lambda leaf: leaf.ndim == 2, tree)
  adamw = lambda top: optax.adamw(top, weight_decay=decay, mask=matrices)

  def labels(raw: Model) -> Model:
    mark = lambda neuron: jax.tree.map(lambda _: 'neuron', neuron)
    tags = neurons.map_neurons(mark, jax.tree.map(lambda _: 'weight', raw))
    fixed = tags.encoder._replace(mean='fixed', std='fixed')
    return tags.replace(encoder=fixed)

  peak = rate(step, numbers)
  neuron = adamw(peak * numbers.neuron_rate)
  each = {'weight': adamw(peak), 'neuron': neuron, 'fixed': optax.set_to_zero()}
  clip = optax.clip_by_global_norm(numbers.clip_norm)
  return optax.chain(clip, optax.partition(each, labels))


def spike_rate(record: Record) -> Array:
  """Mean |s| over the units of h, [B]; mean |h| where h is analog."""
  spikes = record.spikes_of_h
  return jnp.mean(jnp.abs(record.state.h if spikes is None else spikes), -1)


def loss(raw: Model, x: Array, targets: Array, lengths: Array | None,
         mask: Array | None, rates: Rates, *, task: Task,
         executor: scan.Executor) -> Array:
  """Mean loss of a batch, plus what `rates` asks of the spikes.

    + penalty * mean |s| + max(0, T mean |s| / target - 1)

  and the same as the last term of the input. All are means over sequences; of
  a sequence, over its real elements. `raw` has parameters in unbounded
  coordinates; x [B, N, D], targets [B, ...]; the mask [B, P H] multiplies the
  pooled output, None is no dropout.
  """
  model = neurons.constrain(raw)
  watched = rates.penalty is not None or rates.target is not None
  observe = spike_rate if watched else None
  forward = model_lib.apply(model, x, lengths=lengths, executor=executor,
                            observe=observe)  # yapf: disable
  outputs = forward.outputs
  if mask is not None:
    if model.config.is_labelling:
      mask = mask[:, None]
    outputs = model_lib.read_out(model.readout, forward.pooled * mask)
  value = jnp.mean(_of_sequences(task.loss(outputs, targets), lengths))
  excess = lambda rate, target: jnp.maximum(0.0, rate / target - 1)
  if watched:
    rate = jnp.mean(
        jnp.stack([
            jnp.mean(padding.mean(jnp.mean(seen, 1), lengths))
            for seen in forward.observed
        ]))
    if rates.penalty is not None:
      value += rates.penalty * rate
    if rates.target is not None:
      value += excess(model.config.num_steps * rate, rates.target)
  spikes = forward.encoded.spikes
  if rates.input_target is not None and spikes is not None:
    rate = padding.mean(jnp.sum(jnp.abs(spikes), 1), lengths)
    value += excess(jnp.mean(rate), rates.input_target)
  return value


def _of_sequences(values: Array, lengths: Array | None) -> Array:
  """[B], from [B] or the mean of [B, N] over real elements."""
  return padding.mean(values.T, lengths) if values.ndim == 2 else values


@functools.partial(jax.jit,
                   static_argnames=('task', 'executor', 'augment', 'place'),
                   donate_argnums=0)
def train_step(
    moving: tuple[Model, Model, Any],
    batch: Data,
    key: Array,
    step: Array,
    numbers: Numbers,
    teacher: Model | None = None,
    *,
    task: Task = CLASSIFICATION,
    executor: scan.Executor = scan.stacked,
    augment: Augment | None = None,
    place: parallel.Placement = parallel.Placement()
) -> tuple[Any, Array]:
  """One step of the optimiser and of the moving average: (moving, loss).

  Args:
    moving: (raw, average, opt_state) as in a `FitState`; donated.
    batch: x [B, N, D], y [B, ...] and, if they differ, lengths [B].
    key, step: PRNG key of all steps, and number of this one, from 1.
    teacher: gives the share `numbers.distillation` of the targets. Source:
      Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network",
      2015, at temperature 1.
    augment: maps (key, x) to the x that is trained on.
    place: where the batch lies; with none, XLA partitions the gradient.
  """
  if (teacher is None) != (numbers.distillation is None):
    raise ValueError('train_step: distillation without a teacher, or a teacher '
                     'without distillation; expected both or none.')
  (raw, average, opt_state), (x, y, lengths) = moving, batch
  augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, step))
  if augment:
    x = augment(augment_key, x)
  targets = task.targets(y, raw.num_outputs, numbers.label_smoothing)
  if teacher is not None:
    taught = task.link(compiled_predict(teacher, x, lengths, executor=executor))
    share = numbers.distillation
    targets = (1 - share) * targets + share * taught
  mask = None
  if numbers.dropout is not None:
    keep, shape = 1 - numbers.dropout, (len(x), raw.readout.w.shape[0])
    mask = jax.random.bernoulli(dropout_key, keep, shape) / keep
  part = functools.partial(loss, task=task, executor=executor)
  descend = place.mean(jax.value_and_grad(part), (None, 0, 0, 0, 0, None))
  value, gradient = descend(raw, x, targets, lengths, mask, numbers.rates)
  updates, opt_state = optimiser(numbers, step).update(gradient, opt_state, raw)
  raw = optax.apply_updates(raw, updates)
  # A short memory first, or the average would remember the random start.
  decay = jnp.minimum(numbers.average, step / (step + 9.0))
  average = optax.incremental_update(raw, average, 1.0 - decay)
  return (raw, average, opt_state), value


def predict(model: Model,
            x: Any,
            lengths: Any = None,
            *,
            executor: scan.Executor = scan.stacked) -> Array:
  """Outputs of `apply`, such as logits [B, K]; compiled.

  Raises:
    ValueError: for shapes that do not fit the model, neurons out of range.
  """
  types.check_array('predict: x', x)
  padding.check(lengths, x, 'predict: lengths')
  borders.check_once(model, 'predict: model')
  return compiled_predict(model, x, lengths, executor=executor)


@functools.partial(jax.jit, static_argnames='executor')
def compiled_predict(model: Model,
                     x: Array,
                     lengths: Array | None = None,
                     *,
                     executor: scan.Executor = scan.stacked) -> Array:
  """`predict` without its checks of values."""
  return model_lib.apply(model, x, lengths=lengths, executor=executor).outputs


def evaluate(model: Model,
             data: Data,
             *,
             task: Task = CLASSIFICATION,
             batch_size: int = 256,
             executor: scan.Executor = scan.stacked,
             devices: Sequence[jax.Device] | None = None) -> Evaluation:
  """Mean metric and loss over a set, over its real elements if each has one.

  `batch_size` examples run at a time, shared by as many of the `devices` (by
  default all) as divide it.

  Raises:
    ValueError: if the set does not fit the model, or is not finite; if a value
      of the model is out of range.
  """
  borders.check_model(model, 'evaluate: model')
  _check_set(data, model, task, 'evaluate: data')
  return _evaluate(model, data, task, batch_size, executor, devices)


def outputs(model: Model,
            x: np.ndarray,
            *,
            lengths: Any = None,
            batch_size: int = 256,
            executor: scan.Executor = scan.stacked,
            devices: Sequence[jax.Device] | None = None) -> np.ndarray:
  """Outputs [examples, K] of x [examples, N, D], run as `evaluate` does.

  With pooling 'each' they are [examples, N, K]; `lengths` is that of `Data`.

  Raises:
    ValueError: if x does not fit the model, or is not finite; if a value of
      the model is out of range.
  """
  borders.check_model(model, 'outputs: model')
  types.check_shape('outputs: x', x, 'examples N D', D=model.num_features)
  borders.check_inputs(x, 'outputs: x')
  padding.check(lengths, x, 'outputs: lengths')
  return _outputs(model, x, lengths, batch_size, executor, devices)


def judge(found: np.ndarray,
          y: Any,
          task: Task = CLASSIFICATION,
          *,
          lengths: Any = None) -> Evaluation:
  """Mean metric and loss of `outputs`, given the truth y.

  Of outputs per element, [examples, N, K], over all that are real.
  """
  everything, truth = jnp.asarray(found), jnp.asarray(y)
  targets = task.targets(truth, found.shape[-1], 0.0)
  real = padding.of_examples(found, lengths) if found.ndim == 3 else ...
  mean = lambda values: float(np.mean(np.asarray(values, np.float64)[real]))
  return Evaluation(mean(task.metric(everything, truth)),
                    mean(task.loss(everything, targets)))


def _evaluate(model: Model, data: Data, task: Task, *how: Any,
              **options: Any) -> Evaluation:
  found = _outputs(model, data.x, data.lengths, *how, **options)
  return judge(found, data.y, task, lengths=data.lengths)


def _outputs(
    model: Model,
    x: np.ndarray,
    lengths: Any,
    batch_size: int = 256,
    executor: scan.Executor = scan.stacked,
    devices: Sequence[jax.Device] | None = None
) -> np.ndarray:  # yapf: disable
  found = []
  for batch in padding.batches(x, lengths, batch_size):
    place = parallel.placement(len(batch[0]), devices)
    there, batch = place.everywhere(model), place.split(batch)
    found.append(np.asarray(compiled_predict(there, *batch, executor=executor)))
  return np.concatenate(found)


def _check_set(data: Data, model: Model, task: Task, what: str) -> None:
  """Raises ValueError, naming the array, if a network cannot take a set."""
  if not (hasattr(data, 'x') and hasattr(data, 'y')):
    raise ValueError(f'{what} is of type {type(data).__name__}; expected '
                     'slstm.Data(x, y).')
  types.check_array(f'{what}.y', data.y)
  types.check_shape(f'{what}.x', data.x, 'examples N D', D=model.num_features)
  labels = data.y.shape[0] if data.y.shape else 'no'
  if labels != len(data.x):
    raise ValueError(f'{what} has {len(data.x)} examples in x and {labels} in '
                     'y; expected as many.')
  padding.check(data.lengths, data.x, f'{what}.lengths')
  borders.check_inputs(data.x, f'{what}.x')
  borders.check_inputs(data.y, f'{what}.y')
  y = data.y
  if model.config.is_labelling:
    if np.shape(y)[:2] != data.x.shape[:2]:
      raise ValueError(f'{what}.y has shape {np.shape(y)}; expected '
                       f'{data.x.shape[:2]} first: the pooling of the model is '
                       f"{types.EACH!r}, so every element needs its own.")
    y = np.asarray(y)[padding.of_examples(data.x, data.lengths)]
  try:
    task.check(y, model.num_outputs)
  except ValueError as error:
    raise ValueError(f'{what}: {error}') from error


def initial_state(model: Model, config: TrainConfig,
                  num_examples: int) -> FitState:
  """The state before the first epoch; ValueError if no batch is full."""
  steps = num_examples // config.batch_size * config.epochs
  if not steps:
    raise ValueError(
        f'initial_state: num_examples is {num_examples}, which do not fill one '
        f'batch of {config.batch_size}; lower TrainConfig.batch_size.')
  raw = neurons.unconstrain(model)
  opt_state = optimiser(config.numbers(steps), 1).init(raw)
  return FitState(raw, raw, opt_state, model, jnp.asarray(0.0), jnp.asarray(0))


def _most_loss(first: float, train: Data, model: Model, config: TrainConfig,
               task: Task) -> float:
  """What no loss exceeds, by that of the first step and of outputs of 0."""
  y = jnp.asarray(train.y[:config.batch_size])
  targets = task.targets(y, model.num_outputs, config.label_smoothing)
  axes = y.shape[:2] if model.config.is_labelling else y.shape[:1]
  idle = jnp.mean(task.loss(jnp.zeros((*axes, model.num_outputs)), targets))
  return _DIVERGED * max(1.0, first, float(idle))


def _check_loss(value: float, most: float, what: str, config: TrainConfig,
                trained: bool) -> None:
  """Raises FloatingPointError, with the likely cause, unless value <= most."""
  if np.isfinite(value) and value <= most:
    return
  cause = (f'expected a finite one below {most:.3g}. Training diverged: lower '
           f'TrainConfig.learning_rate, which is {config.learning_rate:g}, or '
           f'neuron_rate, {config.neuron_rate:g} times that.')
  if not trained:
    cause = ('expected a finite one. Nothing has been trained yet, and data '
             'and model are finite: look at the augmentation and the task.')
  raise FloatingPointError(f'fit: the {what} is {value:g}; {cause}')


def fit(
    model: Model,
    train: Data,
    validation: Data,
    *,
    config: TrainConfig = TrainConfig(),
    task: Task = CLASSIFICATION,
    augment: Augment | None = None,
    teacher: Model | None = None,
    state: FitState | None = None,
    on_step: Callable[[int, float], None] = lambda step, value: None,
    devices: Sequence[jax.Device] | None = None
) -> Iterator[tuple[FitState, dict[str, float]]]:
  """Trains a model; yields (state, metrics) after every epoch.

  Args:
    validation: chooses the best epoch; never the test set.
    augment: maps (key, x [B, N, D]) to the x that is trained on.
    teacher: whose predictions have a share of `distillation` in the targets.
    state: one that an earlier run yielded, to continue from it.
    on_step: called with the number and the loss of each step, once it is done.
    devices: share every batch, as many as divide it; by default all.

  Yields:
    The state, whose `best` is the model to keep, and the epoch's training loss,
    validation metric and validation loss.

  Raises:
    ValueError: if a set, the state or the teacher does not fit, or a value is
      not finite or out of range.
    FloatingPointError: if a loss is not finite any more, or above 1e4 times
      that of the first step, that of outputs of 0, and 1; names the step.

  Example:
    for state, metrics in slstm.fit(model, train, validation):
      print(metrics['validation_accuracy'])
    model = state.best
  """
  for data, what in (train, 'train'), (validation, 'validation'):
    _check_set(data, model, task, f'fit: {what}')
  start = initial_state(model, config, len(train.y))
  state = state or start
  borders.check_model(model, 'fit: model')
  borders.check_leaves(state.best, model, 'fit: state')
  if state.best.config != model.config:
    raise ValueError(f'fit: state is of a model with {state.best.config}; '
                     f'expected {model.config}.')
  if teacher is not None:
    what, hint = 'fit: teacher.readout.b', 'A teacher has the same outputs.'
    types.check_shape(what, teacher.readout.b, 'K', hint, K=model.num_outputs)
    borders.check_model(teacher, 'fit: teacher')
  size, per_epoch = config.batch_size, len(train.y) // config.batch_size
  place = parallel.placement(size, devices)
  numbers = jax.tree.map(jnp.asarray, config.numbers(per_epoch * config.epochs))
  root = jax.random.fold_in(jax.random.key(config.seed), _STREAM)
  order_key, noise_key = jax.random.split(root)
  key, *rest = place.everywhere((noise_key, numbers, teacher))
  how = dict(task=task, augment=augment, executor=config.executor, place=place)
  # Copies, for they are donated; of no weak type, or step 2 would compile anew.
  strong = lambda leaf: jnp.array(leaf, leaf.dtype)
  most = 0.0  # loss beyond which it has diverged, once there is a first one
  for epoch in range(int(state.epoch), config.epochs):
    moving = state.raw, state.average, state.opt_state
    moving = place.everywhere(jax.tree.map(strong, moving))
    epoch_key = jax.random.fold_in(order_key, epoch)
    order = np.asarray(jax.random.permutation(epoch_key, len(train.y)))
    losses: list[Any] = []
    for index in range(per_epoch + _LAG):
      step = epoch * per_epoch + index + 1
      if index < per_epoch:
        rows = order[index * size:(index + 1) * size]
        batch = place.split(train.rows(rows))
        moving, value = train_step(moving, batch, key, step, *rest, **how)
        losses.append(value)
      if index >= _LAG:
        step, value = step - _LAG, float(losses[index - _LAG])
        most = most or _most_loss(value, train, model, config, task)
        _check_loss(value, most, f'loss of step {step}, epoch {epoch + 1},',
                    config, step > 1)
        losses[index - _LAG] = value
        on_step(step, value)
    raw, average, opt_state = jax.tree.map(jnp.asarray, jax.device_get(moving))
    candidate = neurons.constrain(average)
    found = _evaluate(candidate, validation, task, devices=devices)
    what = f'validation loss after step {step}, epoch {epoch + 1},'
    _check_loss(found.loss, most, what, config, True)
    borders.check_model(candidate, f'fit: what step {step} made')
    sign = 1 if task.higher_is_better else -1
    best, score = state.best, state.best_metric
    if not epoch or sign * found.metric > sign * score:
      best, score = candidate, jnp.asarray(found.metric)
    done = jnp.asarray(epoch + 1)
    state = FitState(raw, average, opt_state, best, score, done)
    metrics = {'epoch': epoch + 1, 'loss': float(np.mean(losses))}
    metrics[f'validation_{task.metric_name}'] = found.metric
    yield state, metrics | {'validation_loss': found.loss}
