"""How a pool stands at this moment, for people: who may be picked, who not and why, and how likely each is.

Everything is what the pool itself goes by, asked of it; nothing is taken, claimed or moved on.
"""

from worker.survey.prospect import Prospect, odds_of, prospect_of
from worker.survey.stand import Stand, ms, stands_of
from worker.survey.words import reason_of_tier

__all__ = ["Prospect", "Stand", "ms", "odds_of", "prospect_of", "reason_of_tier", "stands_of"]
