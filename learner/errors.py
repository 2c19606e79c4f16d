"""What can go wrong in the learner.

LearnerError
├── BadRows            rows that cannot be trained or measured on as they are
├── TrainingFailed     the trainer broke; nothing was published
├── TrainingStopped    the run was asked to stop
└── LearnerBusy        another learner works on the same home

A refused promotion, an empty selection and a run without signal are results, not errors.
"""


class LearnerError(Exception):
    """Base of all; the message names the value and the remedy."""


class BadRows(LearnerError):
    pass


class TrainingFailed(LearnerError):
    pass


class TrainingStopped(LearnerError):
    pass


class LearnerBusy(LearnerError):
    pass
