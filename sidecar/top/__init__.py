"""`sidebeat top`: the system as `sidebeat status` reads it, again and again, on a terminal or a line each for programs.

read -> measure (where no monitor does) -> frame -> draw, or JSON
"""

from sidecar.top.frame import Frame
from sidecar.top.live import watch
from sidecar.top.plain import print_frames
from sidecar.top.read import Reader

__all__ = ["Frame", "Reader", "print_frames", "watch"]
