"""slstm: spiking LSTMs converted from ordinary LSTMs."""

from slstm.calibrate import calibrate
from slstm.calibrate import Calibration
from slstm.checkpoint import load_model
from slstm.checkpoint import save_model
from slstm.convert import Conversion
from slstm.convert import ConversionConfig
from slstm.convert import convert
from slstm.energy import ledger
from slstm.export_c import export_c
from slstm.export_c import memory_of_c
from slstm.fitting import report_dict
from slstm.front import pick
from slstm.front import trade_off
from slstm.importers import from_linen
from slstm.integer_file import load_integers
from slstm.integer_file import save_integers
from slstm.model import apply
from slstm.model import constrain
from slstm.model import init
from slstm.model import standardising
from slstm.model import stretch
from slstm.neurons import Kind
from slstm.neurons import LIF
from slstm.neurons import register
from slstm.neurons import unconstrain
from slstm.operations import count_operations
from slstm.operations import Counts
from slstm.quantise import quantise
from slstm.scan import lean
from slstm.scan import sequential
from slstm.scan import stacked
from slstm.select import select
from slstm.sigma_delta import sigma_delta
from slstm.sigma_delta import SigmaDelta
from slstm.tasks import CLASSIFICATION as classification
from slstm.tasks import regression
from slstm.tasks import Task
from slstm.train import Data
from slstm.train import evaluate
from slstm.train import fit
from slstm.train import initial_state
from slstm.train import predict
from slstm.train import TrainConfig
from slstm.types import (CellState, Config, Encoder, Gates, Layer, Model,
                         Readout, Record, Sites, State)
from slstm.wavefront import wavefront
