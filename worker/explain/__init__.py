"""What would become of a request, and why: the answer to `sidebeat explain`, given by a worker on its admin socket.

The request is read, routed and written as a real one would be, by the same code; only that it is sent to nobody.
"""

from worker.explain.admin import serve_explanations
from worker.explain.explanation import Explanation, Question, explain

__all__ = ["Explanation", "Question", "explain", "serve_explanations"]
