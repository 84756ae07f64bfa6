"""slstm: spiking LSTMs converted from ordinary LSTMs."""

from slstm.calibrate import calibrate
from slstm.calibrate import Calibration
from slstm.checkpoint import load_model
from slstm.checkpoint import save_model
from slstm.convert import Conversion
from slstm.convert import ConversionConfig
from slstm.convert import convert
from slstm.counts import count_operations
from slstm.counts import Counts
from slstm.encoders import standardising
from slstm.energy import ledger
from slstm.executor import run
from slstm.importers import from_linen
from slstm.model import apply
from slstm.model import init
from slstm.neurons import integrate_and_fire
from slstm.optimiser import TrainConfig
from slstm.rules import report_dict
from slstm.select import select
from slstm.stretch import stretch
from slstm.train import Data
from slstm.train import evaluate
from slstm.train import fit
from slstm.train import initial_state
from slstm.train import Teacher
from slstm.types import (CellState, Config, Encoder, Gates, Layer, Neuron,
                         Params, Readout, Sites)
