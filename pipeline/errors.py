"""Everything that can go wrong in a way the user can mend.

PipelineError                 one sentence: what is wrong, where, what to do next
├── ConfigError               config.yaml, .env, the environment, a prompt file
├── InputError                the folder of PDFs, or one paper in it
├── WorkspaceError            a file of ours cannot be read or written; a lock is held
│   └── LockedError           another command is at work in the same folder
├── ClusterError              the Dask cluster that should read the papers
├── LabelError                a file of labels by people
├── StageOrderError           a stage is asked for before the one it builds on
├── ConsentError              it would cost more than allowed, or pay again for what was answered
└── ProviderError             the model's side: key, model, parameter, network, weights
    ├── UnreachableError      nobody answers: the network, or the server
    ├── UnknownBatchError     the provider does not know a batch that was sent from here
    └── UnsettledError        it cannot be known whether a batch was made: the user decides

The entry scripts print the message and exit with status 1; nothing else is meant to reach a user.
"""


class PipelineError(Exception):
    """Base of all errors that are told to the user in one sentence."""


class ConfigError(PipelineError):
    """A setting, a secret or a prompt file is missing or wrong."""


class InputError(PipelineError):
    """The input folder, or a document in it, cannot be used."""


class WorkspaceError(PipelineError):
    """A file under the output folder cannot be read or written, or another run holds the lock."""


class ClusterError(PipelineError):
    """The Dask cluster cannot be used, or was lost."""


class LabelError(PipelineError):
    """A file of labels is missing or none."""


class LockedError(WorkspaceError):
    """Another command holds the lock."""


class ConsentError(PipelineError):
    """Nothing is sent without the user's word: over MAX_COST_USD, or answered pages asked anew without --yes."""


class StageOrderError(PipelineError):
    """The stage before has not said anything yet."""


class ProviderError(PipelineError):
    """The provider refused, could not be reached, or cannot serve what was asked."""


class UnreachableError(ProviderError):
    """The server could not be reached; the same call may well succeed later."""


class UnknownBatchError(ProviderError):
    """The provider does not know a batch: another key or project, or it was deleted there."""


class UnsettledError(ProviderError):
    """A batch may or may not have been made, and the provider's list cannot tell."""
