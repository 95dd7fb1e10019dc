"""Names of the errors that attention-service answers with, in google.rpc.ErrorInfo.reason."""

from __future__ import annotations

from enum import Enum

__all__ = ["DOMAIN", "Reason"]

DOMAIN = "attention-service"
"""google.rpc.ErrorInfo.domain of every error of this service."""


class Reason(str, Enum):
    """A fact about a request or the server, the same on the wire, in logs and in the SDK."""

    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    """The bytes are no message of the expected type."""
    MISSING_FIELD = "MISSING_FIELD"
    """A field that this request needs is absent."""
    INVALID_NAME = "INVALID_NAME"
    """A model name, a version or a request id that is not spelt as one."""
    INVALID_ENUM = "INVALID_ENUM"
    """A number that the enum does not have."""
    INVALID_DATA_TYPE = "INVALID_DATA_TYPE"
    """A tensor of another element type than the field takes."""
    INVALID_SHAPE = "INVALID_SHAPE"
    """A tensor whose rank or dimensions do not fit its field, the model or the other tensors."""
    INVALID_BYTE_LENGTH = "INVALID_BYTE_LENGTH"
    """A tensor whose data is not product(shape) * size of an element bytes."""
    INVALID_COUNT = "INVALID_COUNT"
    """A list without exactly one entry a sequence."""
    OUT_OF_RANGE = "OUT_OF_RANGE"
    """A length, an offset, a position or an index outside what the request has."""
    INVALID_HEADS = "INVALID_HEADS"
    """A head configuration that the model does not have or that makes no sense."""
    MASK_NOT_SUPPORTED = "MASK_NOT_SUPPORTED"
    """A mask that the model cannot apply."""
    NON_FINITE = "NON_FINITE"
    """NaN or infinity where a finite number is needed."""
    SCORE_OVERFLOW = "SCORE_OVERFLOW"
    """Scores beyond float32."""
    VALUE_OVERFLOW = "VALUE_OVERFLOW"
    """Values, head outputs or outputs beyond float32."""
    POSITIONS_NOT_USED = "POSITIONS_NOT_USED"
    """Positions given to a model that does not use them."""
    POSITIONS_REQUIRED = "POSITIONS_REQUIRED"
    """Positions needed and absent."""
    OUTPUT_NOT_SUPPORTED = "OUTPUT_NOT_SUPPORTED"
    """An output that the model cannot give."""

    MESSAGE_LIMIT = "MESSAGE_LIMIT"
    """A request larger than its message may be: the SDK says it of what no server would take.

    The server says it of a request that only names things; beyond the largest message, gRPC itself
    refuses, and gives no reason.
    """
    BATCH_LIMIT = "BATCH_LIMIT"
    """More sequences than the server takes at once."""
    LENGTH_LIMIT = "LENGTH_LIMIT"
    """A query, a key or a list longer than the server takes."""
    WORK_LIMIT = "WORK_LIMIT"
    """batch * heads * query_len * kv_len over what the server takes."""
    TENSOR_LIMIT = "TENSOR_LIMIT"
    """A tensor over all heads larger than any request or answer."""
    ANSWER_LIMIT = "ANSWER_LIMIT"
    """An answer larger than a message may be."""

    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    """No model of this name."""
    VERSION_NOT_FOUND = "VERSION_NOT_FOUND"
    """The model does not have this version."""

    QUEUE_FULL = "QUEUE_FULL"
    """Too much is waiting; try again after RetryInfo.retry_delay."""
    SHUTTING_DOWN = "SHUTTING_DOWN"
    """The server is draining; another one may answer."""
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    """Out of time."""
    CANCELLED = "CANCELLED"
    """The caller gave up."""
    NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
    """Part of the contract, but not built yet."""
    INTERNAL = "INTERNAL"
    """A fault of the server; the log has it under the id in the message."""

    def __str__(self) -> str:
        return self.value
