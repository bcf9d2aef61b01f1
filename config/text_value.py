"""Values that stand as one string in the configuration and as an object in the program."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class TextValue(ABC):
    """Base of a value with a text form: pydantic reads it with `parse` and prints it with `str()`."""

    __slots__ = ()

    KIND: ClassVar[str]
    """What the reference page calls this type."""
    EXAMPLE: ClassVar[str]
    """A valid text, for error messages."""

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Self:
        """The value that `text` stands for. Raises ValueError with a message for the operator."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """String (or the value itself) in, string out."""
        return core_schema.no_info_plain_validator_function(
            cls._accept, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def _accept(cls, value: object) -> Self:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise PydanticCustomError("text_value", "must be text such as {example}", {"example": cls.EXAMPLE})
