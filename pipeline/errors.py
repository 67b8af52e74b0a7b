"""All errors that a user can fix. Each message is one sentence: what is wrong, where, what to do next.

PipelineError
├── ConfigError               config.yaml, .env, an environment variable or a prompt file
├── InputError                the folder of PDFs, or one paper in it
├── WorkspaceError            one of our own files cannot be read or written
│   └── LockedError           another command is working in the same folder
├── ClusterError              the Dask cluster that reads the papers
├── LabelError                a file of human labels
├── StageOrderError           the stage before this one has no answers yet
├── ConsentError              it would cost more than allowed, or pay again for answered pages
└── ProviderError             the model's side: key, model, parameter, network, weights
    ├── UnreachableError      the network or the server does not respond
    │   ├── OddReplyError     the server responds, but not as expected; other calls may succeed
    │   └── IncompleteResultsError  a result file may lack rows: it is downloaded again later
    ├── RequestError          one request gets no usable reply, but others do
    ├── UnknownBatchError     the provider does not know a batch that was submitted from here
    └── UnsettledError        it is unknown whether a batch was created; the user has to decide

The entry scripts print the message and exit with status 1. No other exception should reach a user.
"""


class PipelineError(Exception):
    """Base of all errors that are shown to the user as one sentence."""


class ConfigError(PipelineError):
    """A setting, a secret or a prompt file is missing or invalid."""


class InputError(PipelineError):
    """The input folder, or a document in it, cannot be used."""


class WorkspaceError(PipelineError):
    """A file in the output folder cannot be read or written."""


class LockedError(WorkspaceError):
    """Another command holds the lock."""


class ClusterError(PipelineError):
    """The Dask cluster cannot be used, or was lost."""


class LabelError(PipelineError):
    """A label file is missing or invalid."""


class ConsentError(PipelineError):
    """Nothing is sent without consent: over MAX_COST_USD, or answered pages would be asked again without --yes."""


class StageOrderError(PipelineError):
    """The previous stage has no answers yet."""


class ProviderError(PipelineError):
    """The provider refused, or cannot do what was asked."""


class UnreachableError(ProviderError):
    """The server could not be reached. The same call may succeed later."""


class OddReplyError(UnreachableError):
    """The server's reply about one batch or file cannot be used. It says nothing about the others."""


class IncompleteResultsError(UnreachableError):
    """The result files of a batch cannot be complete. They are downloaded again later."""


class RequestError(ProviderError):
    """One request gets no usable reply from a server that replies to others."""


class UnknownBatchError(ProviderError):
    """The provider does not know a batch: it belongs to another key or project, or was deleted there."""


class UnsettledError(ProviderError):
    """A batch may or may not have been created, and the provider's list does not show it."""
