"""The face-attribute network, and the only way to train it: a private step for each person.

Guarantees that what :func:`fabnet_secure.fabnet.train.train` returns was computed from the persons' frames only
through noisy sums (``step.py``), and that weights are read back only when their digest matches. Does not decide who
may be trained on, and stores no budget. Home of ``torch``, ``opacus`` and ``safetensors``.

Wiles, Koepke, Zisserman, «Self-supervised learning of a facial attribute embedding from video», BMVC 2018 (arXiv
1808.06882); own implementation.
"""

import os

# Two processes that both spin on OpenMP barriers slow each other thirty-fold (0.7 s to 20 s a step, measured). It must
# be set before torch loads its runtime, hence here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
