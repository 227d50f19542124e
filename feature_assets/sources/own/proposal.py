"""A first description of files that nobody described: which column is what, each guess marked as one, with its reason.

What the columns look like belongs to `looking.py`. A guess is never acted on silently: it stands in the file that the
user reads, as a comment beside what it decided.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from feature_assets.data.coercion import DeliveryError
from feature_assets.data.contract import CONTRACT
from feature_assets.data.mapping import ColumnMapping, TextFormat
from feature_assets.sources.own.looking import Look, Seen, look_at
from feature_assets.sources.own.places import Files

WORDS: dict[str, tuple[str, ...]] = {
    "customer": (
        "customer",
        "client",
        "user",
        "member",
        "household",
        "kunde",
        "cliente",
        "buyer",
        "shopper",
        "visitor",
    ),
    "time": ("date", "time", "datetime", "timestamp", "datum", "fecha", "zeit", "day", "when", "at"),
    "amount": (
        "amount",
        "total",
        "paid",
        "sales",
        "revenue",
        "spend",
        "value",
        "betrag",
        "umsatz",
        "importe",
        "montant",
    ),
    "price": ("price", "preis", "precio", "prix", "unitprice", "cost"),
    "quantity": ("quantity", "qty", "menge", "units", "pieces", "anzahl", "cantidad", "number", "count"),
    "product": ("product", "item", "sku", "article", "artikel", "producto", "stockcode", "asin", "isbn"),
    "category": ("category", "department", "kategorie", "categoria", "aisle", "section", "group", "abteilung"),
    "brand": ("brand", "marke", "marca", "maker", "manufacturer"),
    "merchant": ("store", "shop", "merchant", "filiale", "tienda", "outlet", "branch"),
    "channel": ("channel", "kanal", "canal", "medium"),
    "basket": ("invoice", "order", "basket", "receipt", "ticket", "bon", "trip", "cart"),
    "line": ("transaction", "line", "transaktion"),
    "discount": ("discount", "rabatt", "descuento"),
    "gender": ("gender", "sex", "geschlecht"),
    "birth_year": ("birthyear", "yob"),
    "region_l1": ("region", "state", "country", "land", "province"),
}
"""What a column could be → words in its name that say so."""
PROTECTED = ("gender", "birth_year", "region_l1")
MOST_CATEGORIES = 200  # products that may each be a category of their own
MOST_STATIC = 50  # different values of a fact about customers


@dataclass
class Proposal:
    """A proposed description.

    Attributes:
        text: of the file.
        seen: a record a file that was looked at.
        open: what only the user can decide.
    """

    text: str
    seen: list[dict[str, Any]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)


def propose(folder: Path, output: Path) -> Proposal:
    """Look at the files of a folder and describe them.

    Args:
        output: the file that the description is for; paths in it start there.

    Raises:
        DeliveryError: no file holds customers and dates; says what was looked for.
    """
    files = [seen for seen in look_at(folder) if seen.rows]
    sales = next((seen for seen in files if _is_sales(seen)), None)
    if sales is None:
        looked = "; ".join(f"{seen.paths[0].name}: {', '.join(seen.sample.columns[:8])}" for seen in files) or "none"
        raise DeliveryError(
            f"no file in {folder} has both a customer and a date by the names and values of its columns ({looked}). "
            f"Describe it by hand (docs/own_data.md), or rename its columns to customer and date."
        )
    return _Writer(folder, output, files, sales).write()


def role_of(look: Look) -> str | None:
    """What a column could be by its name; None where no word says so."""
    words = [word for word in re.split(r"[^a-zà-ÿß]+", _spaced(look.name)) if word]
    whole = "".join(words)
    for role, known in WORDS.items():
        if any(word in known or word.removesuffix("s") in known for word in words) or whole in known:
            if role == "time" and not look.formats:
                continue
            if role in ("amount", "price", "quantity", "discount") and not look.number:
                continue
            if role == "basket" and look.formats:  # order date
                return "time"
            return role
    return "time" if look.formats else None


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-zà-ÿ])(?=[A-Z])", " ", name).lower()


def _is_sales(seen: Seen) -> bool:
    roles = _roles(seen)
    return "customer" in roles and "time" in roles


def _roles(seen: Seen) -> dict[str, Look]:
    """Role → the column that fits it best: keys before descriptions, and the first of equals."""
    found: dict[str, Look] = {}
    for look in seen.columns.values():
        role = role_of(look)
        if role is None or not look.filled:
            continue
        better = role in found and _rank(role, look) < _rank(role, found[role])
        if role not in found or better:
            found[role] = look
    if "customer" not in found:  # a bare id beside a date is the customer, if it comes back
        bare = [look for look in seen.columns.values() if _spaced(look.name) in ("id", "cid", "uid", "customer id")]
        if bare and bare[0].different < seen.sample.height:
            found["customer"] = bare[0]
    return found


def _rank(role: str, look: Look) -> tuple[int, int]:
    name = _spaced(look.name)
    is_key = bool(re.search(r"id\b|code|number|no\b|nr\b", name))
    named = WORDS[role].index(next((w for w in WORDS[role] if w in name), WORDS[role][-1]))
    if role in ("customer", "product", "merchant", "basket"):
        return (0 if is_key else 1, named)
    return (0, named)


class _Writer:
    """Writes the description of files, line by line."""

    def __init__(self, folder: Path, output: Path, files: Sequence[Seen], sales: Seen) -> None:
        self.folder, self.output, self.files, self.sales = folder, output, files, sales
        self.roles = _roles(sales)
        self.lines: list[str] = []
        self.open: list[str] = []
        self.used: dict[int, str] = {id(sales): "transactions"}
        self.more: list[str] = []  # settings of the data set that tables decide

    def write(self) -> Proposal:
        sales = self._sales()
        others = [*self._catalogue(), *self._customers()]
        head = self._head()
        seen = [
            {
                "file": self._pattern(file),
                "rows": f"{file.rows:,}",
                "table": self.used.get(id(file), "not used"),
                "columns": ", ".join(f"{c.name} ({role_of(c) or '?'})" for c in file.columns.values()),
            }
            for file in self.files
        ]
        for file in self.files:
            if id(file) not in self.used:
                self.open.append(f"{file.paths[0].name} is not used: nothing says which table it is")
        return Proposal("\n".join([*head, "tables:", *sales, *others, ""]), seen, self.open)

    def _head(self) -> list[str]:
        time = self.roles["time"]
        first, last = time.first, time.last
        if self.sales.rows > self.sales.sample.height:
            days = self._all_days()
            first, last = days if days is not None else (first, last)
        begin = first if isinstance(first, date) else date(2000, 1, 1)
        until = (last if isinstance(last, date) else date(2000, 12, 31)) + timedelta(days=1)
        return [
            "# Proposed by `ple data init` from the files themselves. Lines with GUESS are guesses: read them, correct",
            "# them, and remove the word. docs/own_data.md explains every key.",
            f"name: {json.dumps(self.output.stem)}",
            f"title: {json.dumps(self.output.stem.replace('_', ' ').capitalize())}",
            "notice: Data of our own.  # shown wherever results are shown",
            "zone: UTC  # GUESS: no file names a zone; days and hours are computed in it",
            f"covers_from: {begin}  # day of the first row",
            f"covers_until: {until}  # the day after the last row; move it on as days are added",
            *([f"folder: {json.dumps(where)}"] if (where := self._folder()) else []),
            *self.more,
        ]

    def _folder(self) -> str:
        where = os.path.relpath(self.folder.resolve(), self.output.resolve().parent)
        return "" if where == "." else where

    def _all_days(self) -> tuple[Any, Any] | None:
        time = self.roles["time"]
        place = Files(CONTRACT["transactions"], self._pattern(self.sales), self.folder, self.sales.text)
        how = ColumnMapping(column=time.name, format=time.formats[:1])
        day = self.sales.values.day(time.name, how).value
        found = [
            part.frame.select(day.min().alias("first"), day.max().alias("last")).collect() for part in place.parts()
        ]
        both = pl.concat(found)
        return both["first"].min(), both["last"].max()

    def _pattern(self, seen: Seen) -> str:
        """What names exactly these files."""
        names = [path.name for path in seen.paths]
        if len(names) == 1:
            return names[0]
        begin = _common(names).rstrip("0123456789")
        end = _common([name[::-1] for name in names])[::-1].lstrip("0123456789")
        pattern = f"{glob.escape(begin)}*{glob.escape(end)}"
        if sorted(glob.glob(pattern, root_dir=self.folder)) == sorted(names):
            return pattern
        self.open.append(f"{len(names)} files have the columns of {names[0]}, and no pattern names exactly them")
        return names[0]

    def _table(self, name: str, seen: Seen) -> list[str]:
        lines = [f"  {name}:", f"    files: {json.dumps(self._pattern(seen))}  # {seen.rows:,} rows"]
        if settings := _changed(seen.text):
            why = "; ".join(seen.reasons)
            lines.append(f"    text: {settings}  # GUESS: {why}" if why else f"    text: {settings}")
        return lines

    def _sales(self) -> list[str]:
        roles, seen = self.roles, self.sales
        lines = self._table("transactions", seen)
        customer = roles["customer"]
        if customer.filled < 1:
            why = f"GUESS: {1 - customer.filled:.1%} of rows name no customer"
            lines.append(f"    where: not missing({_term(customer.name)})  # {why}")
        lines += ["    columns:", self._key("customer_id", customer, "who buys")]
        lines += [self._time("at", roles["time"]), *self._amount()]
        if "quantity" in roles:
            quantity = roles["quantity"]
            if quantity.least is not None and quantity.least < 0:
                how = json.dumps(f"abs({_term(quantity.name)})")
                lines.append(f"      quantity: {{expression: {how}}}  # GUESS: a refund gives back so many pieces")
            else:
                lines.append(self._plain("quantity", quantity))
        unique = "line" in roles and roles["line"].different == seen.sample.height
        if unique:
            lines.append(self._key("transaction_id", roles["line"], "different in every row"))
        else:
            lines.append("      # transaction_id: no column differs in every row; lines are numbered by what they hold")
        basket = roles.get("basket") or (roles.get("line") if not unique else None)
        if basket is not None:
            lines.append(self._key("basket_id", basket, "rows that share it are one purchase"))
        if "product" in roles:
            lines.append(self._key("product_id", roles["product"], "what is bought"))
        if "merchant" in roles:
            lines.append(self._key("merchant_id", roles["merchant"], "where it is bought"))
        if "channel" in roles:
            lines += self._channel(roles["channel"])
        if "discount" in roles:
            lines.append(self._plain("discount", roles["discount"]))
        written = ("customer", "time", "amount", "price", "quantity", "line", "basket", "product", "category", "brand")
        used = {look.name for role, look in roles.items() if role in (*written, "merchant", "channel", "discount")}
        if rest := [name for name in seen.columns if name not in used]:
            lines.append(f"      # not used: {', '.join(rest)}")
        return lines

    def _amount(self) -> list[str]:
        roles = self.roles
        amount, price, quantity = (roles.get(role) for role in ("amount", "price", "quantity"))
        if amount is not None:
            lines = [self._plain("amount", amount, "GUESS: what was paid for the line, by its name")]
            chosen = amount
        elif price is not None and quantity is not None:
            expression = json.dumps(f"{_term(price.name)} * {_term(quantity.name)}")
            lines = [f"      amount: {{expression: {expression}}}  # GUESS: the price of one piece, times pieces"]
            self.open.append(
                f"is {price.name!r} the price of one piece? If it is that of the line: amount: {price.name}"
            )
            chosen = quantity
        elif price is not None:
            lines = [self._plain("amount", price, "GUESS: paid for the line, by its name")]
            chosen = price
        else:
            self.open.append("no column says what was paid: every line counts 1, so values are numbers of lines")
            return ["      amount: {value: 1}  # GUESS: no column says what was paid"]
        if chosen.least is not None and chosen.least < 0:
            lines.append(
                f"      # kind: {chosen.name} has values below 0 ({chosen.least:g}); those rows count as refunds"
            )
        return lines

    def _channel(self, look: Look) -> list[str]:
        text = self.sales.values.text(look.name).value
        values = self.sales.sample.select(text.alias("v"))["v"].drop_nulls().unique().sort().to_list()
        if 2 <= len(values) <= 3:
            self.more.append(f"channels: {json.dumps(values, ensure_ascii=False)}  # GUESS: the values of {look.name}")
            return [self._plain("channel", look)]
        self.open.append(f"{look.name!r} has {len(values)} values; the task `channel` knows 2 or 3: map them to such")
        return [f"      # channel: {look.name} has {len(values)} values; map them to 2 or 3 and name these as channels"]

    def _catalogue(self) -> list[str]:
        """Products and their categories: of a file of their own, of the sales, or the products themselves."""
        product = self.roles.get("product")
        if product is None:
            self.open.append("no column says what is bought: tasks about categories, brands and products are off")
            return []
        for seen in self.files:
            roles = _roles(seen)
            if id(seen) in self.used or "product" not in roles or roles["product"].different < seen.sample.height:
                continue
            if "category" in roles:
                self.used[id(seen)] = "products"
                lines = self._table("products", seen)
                lines += ["    columns:", self._key("product_id", roles["product"], "different in every row")]
                return [*lines, *self._described(roles)]
        lines = ["  products:", "    rows_of: transactions", "    columns:", self._key("product_id", product, "")]
        if "category" in self.roles:
            return [*lines, *self._described(self.roles)]
        if product.different <= MOST_CATEGORIES:
            why = f"GUESS: no column names a category, and there are only {product.different} products"
            return [*lines, f"      category_l1: {json.dumps(product.name)}  # {why}"]
        self.open.append(
            f"no column names a category of the {product.different:,} products: tasks about categories are off"
        )
        return []

    def _described(self, roles: dict[str, Look]) -> list[str]:
        lines = [self._plain("category_l1", roles["category"])]
        if "brand" in roles:
            lines.append(self._plain("brand", roles["brand"]))
        return lines

    def _customers(self) -> list[str]:
        for seen in self.files:
            roles = _roles(seen)
            if id(seen) in self.used or "customer" not in roles:
                continue
            if roles["customer"].different < seen.sample.height:
                continue
            self.used[id(seen)] = "customers"
            lines = [*self._table("customers", seen), "    columns:"]
            lines.append(self._key("customer_id", roles["customer"], "different in every row"))
            if "time" in roles:
                lines.append(self._time("joined_on", roles["time"]))
            facts = [role for role in PROTECTED if role in roles]
            lines += [self._plain(role, roles[role]) for role in facts]
            used = {roles[role].name for role in ("customer", "time", *facts) if role in roles}
            static = [c for c in seen.columns.values() if c.name not in used and c.different <= MOST_STATIC]
            lines += [f"      {_identifier(c.name)}: {json.dumps(c.name)}" for c in static if _identifier(c.name)]
            if facts:
                self.more.append(
                    f"protected: [{', '.join(facts)}]  # GUESS: about the person; kept out of every decision"
                )
            return lines
        return ["  # customers: no file of their own; each begins with the first purchase"]

    def _key(self, column: str, look: Look, why: str) -> str:
        texts = [text for text in look.shown if text]
        if texts and all(re.fullmatch(r"\d+\.0+", text) for text in texts):
            how = f"{{column: {json.dumps(look.name)}, key: whole}}"
            return f"      {column}: {how}  # GUESS: like {texts[0]}: whole numbers"
        return f"      {column}: {json.dumps(look.name)}" + (f"  # GUESS: {why}" if why else "")

    def _plain(self, column: str, look: Look, why: str = "GUESS: by its name") -> str:
        return f"      {column}: {json.dumps(look.name, ensure_ascii=False)}  # {why}"

    def _time(self, column: str, look: Look) -> str:
        shown = f"like {look.shown[0]}" if look.shown else "by its name"
        if look.formats[0] == "iso":
            return f"      {column}: {json.dumps(look.name)}  # GUESS: {shown}"
        why = f"GUESS: {shown}"
        if len(look.formats) > 1:
            why += f"; {look.formats[1]} fits every value as well: which is it?"
            self.open.append(f"{look.name!r} fits {look.formats[0]} and {look.formats[1]}: only you know which it is")
        return f"      {column}: {{column: {json.dumps(look.name)}, format: {json.dumps(look.formats[0])}}}  # {why}"


def _term(name: str) -> str:
    """A column in an expression."""
    return name if name.isidentifier() and name not in ("not", "and", "or", "if", "else", "in") else f"column({name!r})"


def _common(names: Sequence[str]) -> str:
    """What all names begin with."""
    first, last = min(names), max(names)
    return next((first[:i] for i, sign in enumerate(first) if sign != last[i : i + 1]), first)


def _identifier(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower()).strip("_")


def _changed(text: TextFormat) -> str:
    """The settings that differ from the usual ones, as YAML in one line."""
    given = text.model_dump()
    usual = TextFormat().model_dump()
    return json.dumps({k: v for k, v in given.items() if v != usual[k]}, ensure_ascii=False) if given != usual else ""
