"""Encoders in and out.

load.py reads any: a run's (find.py, of_run.py), an exported one, DeepMind's
(deepmind.py), other libraries' (foreign.py). init_from.py starts a run with one.
torch.py has PyTorch's names; timm_folder.py and onnx.py write for other programs,
agreement.py says how exact the encoder is there, card.py describes it.
"""
