"""The method in NumPy loops: the reference that the library is tested against.

Written from the equations, for one example at a time, in the order in which
they read:

  z_k = W_k x + U_k h + b_k,            k in {i, f, g, o}
  i, f, o = sigma(z),  g = phi(z),  c <- f c + i g,  h <- o phi(c)

  u = leak v + d,  s = fire(u),  v <- u - v_th s,  output amplitude s

Nothing is fused, batched, scanned or shared with the library. Parameters are
whatever has the attributes that `slstm.types` names, a config whatever has
those of its Config; arithmetic is in the given dtype. A neuron is looked up in
`KINDS` by the name of its type; a test may add its own. Beside the couplings of
the library there is 'rate': one update per element, in which every neuron
stands for the mean of T steps under a constant drive.

Axes: N elements, T steps, B batch, D features, H hidden units, P poolings.
"""

import numpy as np

GATES = ('i', 'f', 'g', 'o')
TERNARY = {'i': False, 'f': False, 'o': False, 'g': True, 'c': True, 'h': True}


class Result:
  """What `run` computed; each list has an entry for each layer.

  T is 1 for coupling 'rate'; S is T for coupling 'step', else 1.

  Attributes:
    h: output of the last layer, [N, S, B, H].
    all_h, all_c: lists of [N, T, B, H].
    final_h, final_c: lists of the state to continue from, [S, B, H].
    drive, output: lists of dicts from site to [N, T, B, H].
    spikes: the same for the sites that spike; empty for coupling 'rate'.
  """

  def __init__(self, handed_on, all_h, all_c, drive, output, spikes):
    self.h = handed_on[-1][0]
    self.all_h, self.all_c = all_h, all_c
    self.final_h = [h[-1] for h, _ in handed_on]
    self.final_c = [c[-1] for _, c in handed_on]
    self.drive, self.output, self.spikes = drive, output, spikes


class Forward:
  """What `apply` computed: outputs [B, K], pooled [B, P H] and a Result."""

  def __init__(self, outputs, pooled, result):
    self.outputs, self.pooled, self.result = outputs, pooled, result


def cast(tree, dtype):
  """Turns every leaf of nested (named) tuples into an array of a dtype."""
  if tree is None:
    return None
  if hasattr(tree, '_fields'):
    return type(tree)(*(cast(branch, dtype) for branch in tree))
  if isinstance(tree, (tuple, list)):
    return [cast(branch, dtype) for branch in tree]
  return np.asarray(tree, dtype)


# --- Neurons ------------------------------------------------------------------


def lif_step(neuron, v, d, ternary):
  """One step of a neuron from membrane v under drive d: (v, s)."""
  if neuron.leak is None:
    u = v + d
  else:
    u = neuron.leak * v + d
  zero, one = np.zeros_like(u), np.ones_like(u)
  if ternary:
    level = neuron.v_th / 2
    s = np.where(u >= level, one, np.where(u <= -level, -one, zero))
  else:
    s = np.where(u >= neuron.v_th, one, zero)
  return u - neuron.v_th * s, s


def initial_membrane(neuron, like):
  """The membrane before t = 1 of any element."""
  return np.zeros_like(like) + neuron.v_0


class Kind:
  """What a neuron does.

  Attributes:
    initial: maps (neuron, an array like the drive) to the state to start from.
    step: maps (neuron, state, drive, ternary) to (state, spikes, output).
    carried: whether the state lives for the sequence, not for one element.
    cumulative: whether the last output of an element counts, not the mean.
  """

  def __init__(self, initial, step, carried=False, cumulative=False):
    self.initial, self.step = initial, step
    self.carried, self.cumulative = carried, cumulative


def _lif(neuron, v, d, ternary):
  v, s = lif_step(neuron, v, d, ternary)
  return v, s, neuron.amplitude * s


def _sigma_delta(neuron, state, d, ternary):
  """The membrane integrates the change of the drive; (v, d before, x)."""
  assert ternary
  v, d_before, x = state
  v = v + (d - d_before)
  level = neuron.theta / 2
  if neuron.level is not None:
    level = neuron.level * neuron.theta
  s = np.where(v >= level, 1, np.where(v <= -level, -1, 0)).astype(v.dtype)
  x = x + neuron.theta * s
  return (v - neuron.theta * s, d, x), s, x


def _at_rest(neuron, like):
  return (np.zeros_like(like),) * 3


KINDS = {
    'LIF': Kind(initial_membrane, _lif),
    'SigmaDelta': Kind(_at_rest, _sigma_delta, carried=True, cumulative=True),
}


def kind_of(neuron):
  """The entry of `KINDS` for a neuron."""
  return KINDS[type(neuron).__name__]


def staircase(neuron, d, num_steps, ternary):
  """Mean output over T steps of a neuron whose drive does not change."""
  kind = kind_of(neuron)
  state = kind.initial(neuron, d)
  total = np.zeros_like(d)
  for _ in range(num_steps):
    state, _, output = kind.step(neuron, state, d, ternary)
    total = total + output
  return total / num_steps


# --- Activations --------------------------------------------------------------


def normalise(site, z, slope):
  """The drive in which the hard activation of a site is a clip."""
  return z if TERNARY[site] else z / (2 * slope) + 0.5


def activation(site, d, config):
  """The analog activation of a site, as a function of its drive."""
  if site == 'h':
    return d
  low = -1.0 if TERNARY[site] else 0.0
  if config.family == 'hard':
    return np.clip(d, low, 1.0)
  if config.family == 'quantised':
    q = config.levels
    return np.clip(np.floor(q * d + 0.5) / q, low, 1.0)
  if TERNARY[site]:
    return np.tanh(d)
  z = (d - 0.5) * (2 * config.slope)
  return 1.0 / (1.0 + np.exp(-z))


# --- One update of a layer ----------------------------------------------------


def pre_activations(layer, x, h):
  """z of the four gates for x [D] and h [H]."""
  z = {}
  for k in GATES:
    w, u, b = (getattr(part, k) for part in (layer.w, layer.u, layer.b))
    z[k] = x @ w + h @ u + b
  return z


def lstm_update(squash, z, c, slope):
  """The LSTM equations for given squashing functions: (h, c, drive, output)."""
  drive = {k: normalise(k, z[k], slope) for k in GATES}
  output = {k: squash(k, drive[k]) for k in GATES}
  c = output['f'] * c + output['i'] * output['g']
  drive['c'] = c
  output['c'] = squash('c', c)
  drive['h'] = output['o'] * output['c']
  output['h'] = squash('h', drive['h'])
  return output['h'], c, drive, output


# --- Networks -----------------------------------------------------------------


def _run_example(layers, x, h, c, config):
  """Runs one example, element by element.

  Args:
    layers: parameters of each layer.
    x: input of the first layer, [N, S, D]; S is T, or 1 for the same every t.
    h, c: initial state of each layer, [S, H].
    config: family, slope, levels, num_steps, coupling.

  Returns:
    For each layer a list over n of a list over t of updates, dicts of what
    was computed: h and c [H]; drive, output and spikes, dicts from site to [H];
    and for each layer a list over n of (h, c) that were handed on, [S, H].
  """
  num_steps = 1 if config.coupling == 'rate' else config.num_steps
  h, c = [list(rows) for rows in h], [list(rows) for rows in c]
  history, handed_on = [[] for _ in layers], [[] for _ in layers]
  carried = [{} for _ in layers]
  for x_n in x:
    below = x_n
    for index, layer in enumerate(layers):
      for_element = {}  # every element starts anew
      steps = []
      if config.coupling == 'shared':  # every step starts from the same state
        h[index], c[index] = h[index] * num_steps, c[index] * num_steps
      for t in range(num_steps):
        spikes = {}

        def squash(site, d):
          neuron = getattr(layer.neurons, site)
          if neuron is None:
            return activation(site, d, config)
          if config.coupling == 'rate':
            return staircase(neuron, d, config.num_steps, TERNARY[site])
          kind = kind_of(neuron)
          states = carried[index] if kind.carried else for_element
          if site not in states:
            states[site] = kind.initial(neuron, d)
          states[site], spikes[site], output = kind.step(
              neuron, states[site], d, TERNARY[site])
          return output

        z = pre_activations(layer, below[t if len(below) > 1 else 0],
                            h[index][t])
        h[index][t], c[index][t], drive, output = lstm_update(
            squash, z, c[index][t], config.slope)
        steps.append({
            'h': h[index][t],
            'c': c[index][t],
            'drive': drive,
            'output': output,
            'spikes': spikes
        })
      if config.coupling == 'shared':
        last = layer.neurons.h is not None and kind_of(
            layer.neurons.h).cumulative
        h[index] = [h[index][-1] if last else sum(h[index]) / num_steps]
        c[index] = [sum(c[index]) / num_steps]
      history[index].append(steps)
      handed_on[index].append((h[index][:], c[index][:]))
      below = h[index][:]
  return history, handed_on


def run(layers, x, config, dtype, state=None):
  """Runs stacked layers over a batch.

  Args:
    layers: parameters of each layer.
    x: [N, S, B, D], S = 1 or T.
    config: anything with family, slope, levels, num_steps and coupling.
    dtype: of all arithmetic.
    state: initial (h, c) of each layer, [S, B, H]; zeros by default.

  Returns:
    A Result.
  """
  layers, x, state = cast((layers, x, state), dtype)
  slots = config.num_steps if config.coupling == 'step' else 1
  batch = x.shape[2]
  if state is None:
    hidden_sizes = [layer.u.i.shape[0] for layer in layers]
    zeros = [np.zeros((slots, batch, hidden), dtype) for hidden in hidden_sizes]
    state = [(z, z) for z in zeros]
  examples = [
      _run_example(layers, x[:, :, b], [h[:, b] for h, _ in state],
                   [c[:, b] for _, c in state], config) for b in range(batch)
  ]
  by_layer, states = (list(zip(*part)) for part in zip(*examples))
  handed_on = [  # (h, c), each [N, S, B, H]
      tuple(
          np.moveaxis([[state[k]
                        for state in example]
                       for example in layer], 0, 2)
          for k in (0, 1))
      for layer in states
  ]
  return Result(handed_on,
                all_h=[_stack(h, lambda update: update['h']) for h in by_layer],
                all_c=[_stack(h, lambda update: update['c']) for h in by_layer],
                drive=[_stack_sites(h, 'drive') for h in by_layer],
                output=[_stack_sites(h, 'output') for h in by_layer],
                spikes=[_stack_sites(h, 'spikes') for h in by_layer])


def _stack(histories, read):
  """[N, T, B, H] of what `read` picks from a layer's updates, [B][N][T]."""
  values = []
  for history in histories:
    values.append([[read(update) for update in steps] for steps in history])
  return np.moveaxis(np.asarray(values), 0, 2)


def _stack_sites(histories, part):
  """The same for a part that is a dict from site to [H]."""
  first_update = histories[0][0][0]
  return {
      site: _stack(histories, lambda update, site=site: update[part][site])
      for site in first_update[part]
  }


def encode(encoder, x, config, dtype):
  """The first layer's input for raw x [B, N, D]: [N, 1 or T, B, D]."""
  encoder, x = cast((encoder, x), dtype)
  d = (np.moveaxis(x, 1, 0) - encoder.mean) / encoder.std
  neuron = encoder.neuron
  if neuron is None:
    return d[:, None]
  kind = kind_of(neuron)
  outputs = []
  for n, d_n in enumerate(d):
    if n == 0 or not kind.carried:
      state = kind.initial(neuron, d_n)
    for _ in range(config.encoder_steps or config.num_steps):
      state, _, output = kind.step(neuron, state, d_n, True)
      outputs.append(output)
  outputs = np.reshape(outputs, (len(d), -1, *d.shape[1:]))
  if kind.cumulative:
    return outputs[:, -1:]
  if config.coupling == 'step' and not config.encoder_steps:
    return outputs
  return outputs.mean(axis=1, keepdims=True)


def apply(model, x, dtype, config=None):
  """Runs a network over raw x [B, N, D], by default with its own config."""
  config = config or model.config
  result = run(model.layers, encode(model.encoder, x, config, dtype), config,
               dtype)
  mean_over_t = result.h.mean(axis=1)
  pools = {
      'last': mean_over_t[-1],
      'mean': mean_over_t.mean(axis=0),
      'max': mean_over_t.max(axis=0),
  }
  pooled = np.concatenate([pools[name] for name in config.pooling], axis=-1)
  readout = cast(model.readout, dtype)
  return Forward(pooled @ readout.w + readout.b, pooled, result)
