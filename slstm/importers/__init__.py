"""Source networks that were trained elsewhere, as a Model, and back.

One module for each library. All of them end in `stack.build`, and none needs
its library to be installed but flax, which slstm itself needs.

A Model is a stack of LSTM layers, of one direction, that start from zero; a
pooling over the sequence; and one linear head. Whatever else is found is
refused by name. What cannot be found is the code that calls the layers (the
`forward` of a torch module, the `__call__` of an nnx one): how it pools, and
whether it changes values on the way, only its author can say.
"""

from slstm.importers.keras import from_keras
from slstm.importers.linen import from_linen
from slstm.importers.nnx import from_nnx
from slstm.importers.to_torch import to_torch_state_dict
from slstm.importers.torch import from_torch
