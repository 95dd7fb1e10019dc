"""Asks an attention server: outputs, weights, scores and projections as numpy arrays.

    from attention_client import AttentionClient

    with AttentionClient("localhost:50051") as client:
        result = client.attend("sdpa", query, num_heads=8, weights=True)

Every method raises ``AttentionError`` or one of its subclasses, see ``attention_client.errors``.
"""

from attention_client._ablate import AblationResult
from attention_client._analyze import HeadAnalysisResult
from attention_client._attend import AttendCall
from attention_client._awaiting import AsyncAttentionClient
from attention_client._blocking import AttentionClient
from attention_client._models import Limits, Model, ServerInfo
from attention_client._results import AttendResult, AttentionSettings, Execution
from attention_client._retry import RetryPolicy
from attention_client._specs import ScoresSpec, WeightsSpec
from attention_client._torch_masks import from_torch_attn_mask, from_torch_key_padding_mask
from attention_client.errors import (
    AttentionError,
    ClientClosedError,
    DeadlineExceededError,
    FieldViolation,
    InternalServerError,
    InvalidRequestError,
    LimitExceededError,
    ModelNotFoundError,
    NonFiniteError,
    NotImplementedByServerError,
    PermissionDeniedError,
    ProtocolError,
    RequestCancelledError,
    RequestTooLargeError,
    ServerBusyError,
    ServerUnavailableError,
    UnauthenticatedError,
)
from attention_service.head_analysis import HeadAnalysis
from attention_service.reasons import Reason

__all__ = [
    "AblationResult",
    "AsyncAttentionClient",
    "AttendCall",
    "AttendResult",
    "AttentionClient",
    "AttentionError",
    "AttentionSettings",
    "ClientClosedError",
    "DeadlineExceededError",
    "Execution",
    "FieldViolation",
    "HeadAnalysis",
    "HeadAnalysisResult",
    "InternalServerError",
    "InvalidRequestError",
    "LimitExceededError",
    "Limits",
    "Model",
    "ModelNotFoundError",
    "NonFiniteError",
    "NotImplementedByServerError",
    "PermissionDeniedError",
    "ProtocolError",
    "Reason",
    "RequestCancelledError",
    "RequestTooLargeError",
    "RetryPolicy",
    "ScoresSpec",
    "ServerBusyError",
    "ServerInfo",
    "ServerUnavailableError",
    "UnauthenticatedError",
    "WeightsSpec",
    "from_torch_attn_mask",
    "from_torch_key_padding_mask",
]
