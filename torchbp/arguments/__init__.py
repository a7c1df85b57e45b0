"""What an argument must be: checks that public functions share, and the table of the words for arguments."""

from torchbp.arguments.boundary import checked
from torchbp.arguments.checks import not_negative, positive, whole_number

__all__ = ["checked", "not_negative", "positive", "whole_number"]
