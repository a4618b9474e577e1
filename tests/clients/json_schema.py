"""Reads JSON schemas: what is wrong with a value, values by chance, and a value with each optional field."""

import base64
import re

# How deep a value by chance goes before it takes the simplest of what it may be.
DEPTH_MAX = 9
# Items of a list by chance.
ITEMS_MAX = 2
SIMPLE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DATA = base64.b64encode(b"twelve bytes").decode()


class Reader:
    """A schema with its definitions."""

    def __init__(self, schema):
        self.schema, self.definitions = schema, schema.get("$defs", {})

    def resolve(self, schema):
        if schema is True:
            return {}
        while "$ref" in schema:
            rest = {key: value for key, value in schema.items() if key not in ("$ref", "$defs")}
            schema = self.definitions[schema["$ref"].rpartition("/")[2]] | rest
        return schema

    # What is wrong.

    def problems(self, value, schema=None, path=""):
        """Each as the path and what is wrong there."""
        schema = self.resolve(self.schema if schema is None else schema)
        variants = schema.get("anyOf") or schema.get("oneOf")
        if variants:
            return self.variant_problems(value, variants, path)
        if "allOf" in schema:
            return [problem for part in schema["allOf"] for problem in self.problems(value, part, path)]
        if "const" in schema and value != schema["const"]:
            return [(path, f"{value!r} is not {schema['const']!r}")]
        if "enum" in schema and value not in schema["enum"]:
            return [(path, f"{value!r} is none of {schema['enum']}")]
        kind = schema.get("type")
        if kind and not IS_KIND[kind](value):
            return [(path, f"{str(value)[:80]!r} is no {kind}")]
        return self.kind_problems(value, schema, path)

    def kind_problems(self, value, schema, path):
        if isinstance(value, dict):
            return self.object_problems(value, schema, path)
        if isinstance(value, list):
            found = bounds(len(value), schema, "Items", path)
            for index, item in enumerate(value):
                found += self.problems(item, schema.get("items", {}), f"{path}[{index}]")
            return found
        if isinstance(value, str):
            return text_problems(value, schema, path)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            low, high = schema.get("minimum"), schema.get("maximum")
            if (low is not None and value < low) or (high is not None and value > high):
                return [(path, f"{value} is not from {low} to {high}")]
        return []

    def object_problems(self, value, schema, path):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        found = [(f"{path}.{name}", "is missing") for name in schema.get("required", []) if name not in value]
        found += bounds(len(value), schema, "Properties", path)
        for name, inner in value.items():
            if name in properties:
                found += self.problems(inner, properties[name], f"{path}.{name}")
            elif others is False:
                found.append((f"{path}.{name}", "is no such field"))
            elif isinstance(others, dict):
                found += self.problems(inner, others, f"{path}.{name}")
        return found

    def variant_problems(self, value, variants, path):
        """Those of the variant that is meant: the one whose constants the value holds, else the one that fits best."""
        best = None
        for variant in variants:
            found = self.problems(value, variant, path)
            if not found:
                return []
            far = (not self.is_meant(value, variant), len(found))
            if best is None or far < best[0]:
                best = (far, found)
        return best[1]

    def is_meant(self, value, variant):
        variant = self.resolve(variant)
        if not isinstance(value, dict):
            return variant.get("type") and IS_KIND[variant["type"]](value)
        constants = {name: inner["const"] for name, inner in variant.get("properties", {}).items() if "const" in inner}
        return bool(constants) and all(value.get(name) == constant for name, constant in constants.items())

    # Values.

    def sample(self, dice, schema=None, name="", depth=0):
        """A value by chance; of no chance, the least one, if `dice` is nothing."""
        schema = self.resolve(self.schema if schema is None else schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return dice.choice(schema["enum"]) if dice else schema["enum"][0]
        variants = schema.get("anyOf") or schema.get("oneOf")
        if variants:
            simple = depth > DEPTH_MAX or not dice
            return self.sample(dice, variants[0] if simple else dice.choice(variants), name, depth + 1)
        if "allOf" in schema:
            return self.sample(dice, schema["allOf"][0], name, depth)
        return self.sample_kind(dice, schema, name, depth)

    def sample_kind(self, dice, schema, name, depth):
        kind = schema.get("type")
        if kind == "object":
            return self.sample_object(dice, schema, name, depth)
        if kind == "array":
            least = schema.get("minItems", 0)
            most = max(least, ITEMS_MAX if depth < DEPTH_MAX else least)
            count = dice.randint(least, most) if dice else max(1, least)
            return [self.sample(dice, schema.get("items", {}), name, depth + 1) for _ in range(count)]
        if kind == "string":
            return sample_text(dice, schema, name)
        if kind == "boolean":
            return dice.random() < 0.5 if dice else True
        if kind in ("integer", "number"):
            low, high = schema.get("minimum", 0), schema.get("maximum")
            if kind == "number":
                return 0.5
            return min(max(low, 3), 3 if high is None else high)
        if kind == "null":
            return None
        return dict(SIMPLE) if "chema" in name or name == "parameters" else {"city": "Rome"}

    def sample_object(self, dice, schema, name, depth):
        properties = schema.get("properties", {})
        if not properties:
            inner = schema.get("additionalProperties")
            if inner is False or depth > DEPTH_MAX:
                return {}
            if isinstance(inner, dict) and inner:
                return {"city": self.sample(dice, inner, "city", depth + 1)}
            return dict(SIMPLE) if "chema" in name or name == "parameters" else {"city": "Rome"}
        required = set(schema.get("required", []))
        if schema.get("maxProperties") == 1:
            wanted = [dice.choice(list(properties)) if dice else next(iter(properties))]
        else:
            # Deep down, what must be there alone.
            chance = 0.0 if not dice or depth > DEPTH_MAX else 0.35 if depth else 0.25
            wanted = [field for field in properties if field in required or (dice and dice.random() < chance)]
        return {field: self.sample(dice, properties[field], field, depth + 1) for field in wanted}

    # Each optional field.

    def probes(self, schema=None, path="", seen=None):
        """For each optional field, once for each definition below a field of the whole: its path, a value with it and
        the same without it, if there can be one."""
        schema, seen = self.schema if schema is None else schema, set() if seen is None else seen
        if not is_new(schema, path, seen):
            return
        schema = self.resolve(schema)
        variants = schema.get("anyOf") or schema.get("oneOf")
        if variants:
            for variant in variants:
                yield from self.probes(variant, path, seen)
        elif schema.get("type") == "array":
            for place, given, without in self.probes(schema.get("items", {}), path + "[]", seen):
                yield place, [given], None if without is None else [without]
        elif schema.get("type") == "object" and schema.get("properties"):
            yield from self.field_probes(schema, path, seen)

    def field_probes(self, schema, path, seen):
        properties, required = schema["properties"], schema.get("required", [])
        is_union = schema.get("maxProperties") == 1
        base = {} if is_union else {field: self.sample(None, properties[field], field) for field in required}
        for field, inner in properties.items():
            place = f"{path}.{field}" if path else field
            if field not in required:
                # An empty object says nothing.
                for value in filter(lambda value: value != {}, self.values(inner, field)):
                    # One of a union has no value without it.
                    yield place, base | {field: value}, None if is_union else base
            for deep, given, without in self.probes(inner, place, seen):
                yield deep, base | {field: given}, None if without is None else base | {field: without}

    def values(self, schema, name):
        """What a field may be: each of its words, and each of its kinds once."""
        schema = self.resolve(schema)
        variants = schema.get("anyOf") or schema.get("oneOf")
        if variants:
            for variant in variants:
                yield from self.values(variant, name)
        elif schema.get("type") == "boolean":
            yield from (True, False)
        elif "enum" in schema:
            yield from schema["enum"]
        elif schema.get("type") != "null":
            yield self.sample(None, schema, name)


IS_KIND = {
    "object": lambda value: isinstance(value, dict), "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str), "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}


def is_new(schema, path, seen):
    """Whether the definition that a schema refers to has not been seen below the first field of a path."""
    label = "" if schema is True else schema.get("$ref", "")
    key = (path.partition(".")[0], label)
    is_seen = bool(label) and key in seen
    seen.add(key)
    return not is_seen


def bounds(count, schema, what, path):
    low, high = schema.get("min" + what, 0), schema.get("max" + what)
    if count < low or (high is not None and count > high):
        return [(path, f"{count} {what.lower()} are not from {low} to {high}")]
    return []


def text_problems(value, schema, path):
    found = bounds(len(value), schema, "Length", path)
    if "pattern" in schema and not re.fullmatch(schema["pattern"], value, re.DOTALL):
        found.append((path, f"{value[:80]!r} does not match {schema['pattern']}"))
    if schema.get("contentEncoding") == "base64" or schema.get("format", "").startswith("base64"):
        try:
            base64.b64decode(value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4), validate=True)
        except ValueError:
            found.append((path, f"{value[:80]!r} is no base64"))
    return found


# Words that say something where they stand, by the name of their field.
WORDS = {
    "arguments": '{"city":"Rome"}', "partial_json": '{"city":"Rome"}', "url": "https://example.com/a.png",
    "uri": "s3://bucket/a.png", "image_url": "https://example.com/a.png", "file_url": "https://example.com/a.pdf",
    "fileUri": "https://example.com/a.png", "mimeType": "image/png", "media_type": "image/png", "ttl": "300s",
    "file_data": "data:application/pdf;base64," + DATA, "role": "user",
}


def sample_text(dice, schema, name):
    if schema.get("contentEncoding") or schema.get("format", "").startswith("base64") or name == "data":
        return DATA
    if name in WORDS:
        return WORDS[name]
    if "date" in schema.get("format", ""):
        return "2026-01-02T03:04:05Z"
    return dice.choice(["get_weather", "a", "call_1", "words of it"[:7].strip().replace(" ", "-")]) if dice else "weather"
