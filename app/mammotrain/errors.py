"""What may go wrong on the user's side; everything else is a defect."""


class TrainError(Exception):
    """The run cannot go on; the message is for the user. Exit code 1."""

    exit_code = 1


class UnusableInput(TrainError):
    """Nothing meaningful can be trained on this data set. Exit code 2."""

    exit_code = 2


class LeakError(TrainError):
    """A patient on both sides of a split: the metrics would be too good."""
