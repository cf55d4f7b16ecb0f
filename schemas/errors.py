"""What goes wrong before or around the work, told in one line: the thing, the cause, the next step."""


class ProjectError(Exception):
    """Trouble that a person can mend; its text is the whole message, with no traceback."""


class SettingsError(ProjectError):
    """A profile, key or value that is not right."""


class PhotosError(ProjectError):
    """A folder or manifest of photos that cannot be listed."""


class LakeError(ProjectError):
    """A lake that cannot be opened, read or written."""


class ArtifactError(LakeError):
    """A photo, edit or mask of the lake that is missing or damaged."""


class LakeBusy(LakeError):
    """A lake that another process is writing to."""


class PrefectError(ProjectError):
    """A Prefect server that does not start or answer."""


class ServerError(ProjectError):
    """A model's server that does not start or answer as it should."""


class VersionError(ProjectError):
    """A dataset version that is missing, taken, empty or damaged."""


class ExportError(ProjectError):
    """A version that cannot be exported, or a folder that cannot take it."""


class StageStopped(ProjectError):
    """A stage that failed too often in a row to go on."""


class Interrupted(BaseException):
    """A signal to stop. No KeyboardInterrupt, for which Typer has an ending of its own."""


class DataError(ProjectError):
    """Training data that is missing, too little, or damaged in too many places."""


class WeightsError(ProjectError):
    """A model's weights that are missing, damaged, or another model's."""


class TrainingError(ProjectError):
    """A training run that cannot start, go on, or be kept."""


class BenchmarkError(ProjectError):
    """A run on a benchmark that cannot start, go on or be read, or runs that do not compare."""
