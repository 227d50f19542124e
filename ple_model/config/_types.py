"""Kinds of numbers that several sections of the configuration share."""

from typing import Annotated

from pydantic import Field

Width = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
