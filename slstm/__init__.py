"""slstm: spiking LSTMs converted from ordinary LSTMs."""

from slstm.executor import run
from slstm.model import apply
from slstm.model import init
from slstm.neurons import integrate_and_fire
from slstm.types import CellState
from slstm.types import Config
from slstm.types import Encoder
from slstm.types import Gates
from slstm.types import Layer
from slstm.types import Neuron
from slstm.types import Params
from slstm.types import Readout
from slstm.types import Sites
