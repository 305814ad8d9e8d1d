"""The one exception that means "the user's input is wrong"."""


class InputError(Exception):
    """The user's input is wrong.

    The message is one sentence that names the file or option, says what is allowed and what to do.
    The command line prints it to stderr and exits with code 2.
    """
