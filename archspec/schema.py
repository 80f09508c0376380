"""The base of every declared value: frozen, strict, keyword-only, nothing unknown."""

from __future__ import annotations

from typing import Annotated, Any, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema

from archspec.errors import suggest

PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]

UNKNOWN_KEY = "unknown_key"
_PYDANTIC_ERRORS = frozenset(get_args(core_schema.ErrorType))


class Schema(BaseModel):
    """A value that documents declare. Fields carry their description and unit."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="wrap")
    @classmethod
    def _suggest_keys(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Give every unknown key the near name that this schema does have."""
        try:
            return handler(value)
        except ValidationError as error:
            details = [cls._with_suggestion(detail) for detail in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(cls.__name__, details) from None

    @classmethod
    def _with_suggestion(cls, detail: ErrorDetails) -> InitErrorDetails:
        kind, loc, message = detail["type"], detail["loc"], detail["msg"]
        if kind == "extra_forbidden":
            kind = UNKNOWN_KEY
            known = (field.alias or name for name, field in cls.model_fields.items())
            message = f"unknown key {loc[-1]!r}; {suggest(loc[-1], known)}"
        if kind in _PYDANTIC_ERRORS:
            context = detail.get("ctx", {})
            return InitErrorDetails(type=kind, loc=loc, input=detail["input"], ctx=context)
        custom = PydanticCustomError(kind, "{message}", {"message": message})
        return InitErrorDetails(type=custom, loc=loc, input=detail["input"])
