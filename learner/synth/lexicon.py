"""Words for invented tools: real ones with their synonyms, and pseudo-words that no one has seen.

Most names and values are pseudo-words, so that reading the prompt is the only way to be right. Every real word and
every pseudo-word belongs to one side, train or eval, by a hash of the word: tools of one side share no noun with the other.
"""

import hashlib
import random
from typing import Literal

Side = Literal["train", "eval"]

VERBS: dict[str, tuple[str, ...]] = {
    "book": ("reserve", "get me", "arrange"),
    "create": ("make", "add", "set up", "start a new", "open"),
    "add": ("put in", "create", "insert", "save", "note down"),
    "delete": ("remove", "erase", "get rid of", "drop"),
    "remove": ("delete", "take out", "drop"),
    "list": ("show", "show me", "display", "give me all", "see"),
    "search": ("find", "look for", "look up", "hunt for"),
    "find": ("search for", "look up", "locate", "get"),
    "get": ("fetch", "give me", "show", "tell me", "what is", "look up", "check"),
    "send": ("deliver", "mail", "dispatch", "shoot over"),
    "update": ("change", "modify", "edit", "adjust"),
    "change": ("update", "switch", "modify"),
    "cancel": ("call off", "drop", "scrap"),
    "convert": ("change", "turn", "express", "switch", "what is"),
    "calculate": ("compute", "work out", "figure out", "what is"),
    "compute": ("calculate", "work out", "find"),
    "order": ("buy", "get", "purchase"),
    "buy": ("order", "purchase", "get"),
    "schedule": ("plan", "set up", "arrange"),
    "plan": ("schedule", "organise", "work out"),
    "check": ("verify", "look at", "see", "what is"),
    "track": ("follow", "trace", "where is"),
    "share": ("send out", "pass on"),
    "pay": ("settle", "clear"),
    "translate": ("put", "convert"),
    "rename": ("retitle", "call"),
    "move": ("shift", "transfer", "relocate"),
    "copy": ("duplicate", "clone"),
    "assign": ("give", "hand"),
    "invite": ("ask", "bring in"),
    "approve": ("accept", "sign off"),
    "reject": ("refuse", "turn down"),
    "print": ("put on paper", "run off"),
    "rate": ("score", "grade"),
    "compare": ("contrast", "weigh"),
    "count": ("tally", "how many"),
    "sort": ("arrange", "order"),
    "estimate": ("guess", "work out"),
    "lock": ("secure", "shut"),
    "unlock": ("open", "release"),
    "start": ("begin", "launch", "run", "kick off"),
    "stop": ("end", "halt", "shut down"),
    "enable": ("turn on", "switch on", "activate"),
    "disable": ("turn off", "switch off", "deactivate"),
    "upload": ("put up", "push"),
    "download": ("fetch", "pull"),
    "register": ("sign up", "enrol"),
    "renew": ("extend", "prolong"),
    "play": ("put on", "start"),
    "set": ("make", "put", "change"),
    "log": ("record", "write down", "note"),
    "measure": ("gauge", "check"),
    "describe": ("explain", "summarise", "tell me about"),
    "summarize": ("sum up", "condense", "give me the gist of"),
    "report": ("file", "flag"),
    "complete": ("finish", "tick off", "mark done", "close"),
    "archive": ("store away", "file away"),
    "forecast": ("predict", "what is"),
    "water": ("irrigate", "give water to"),
    "rent": ("hire", "lease", "get"),
    "return": ("give back", "bring back"),
    "open": ("unlock", "bring up"),
    "close": ("shut", "finish"),
    "remind": ("alert", "ping"),
    "notify": ("tell", "alert", "let know"),
}

NOUNS = ["room", "table", "flight", "hotel", "ticket", "seat", "car", "bike", "train", "taxi", "desk", "meeting", "appointment", "event", "concert", "lesson", "course", "class", "exam", "invoice", "receipt", "payment", "refund", "order", "parcel", "package", "shipment", "delivery", "product", "item", "coupon", "discount", "basket", "cart", "note", "task", "reminder", "alarm", "timer", "calendar", "list", "document", "file", "folder", "report", "page", "article", "post", "comment", "message", "letter", "photo", "picture", "video", "song", "playlist", "album", "movie", "show", "book", "chapter", "recipe", "meal", "dinner", "menu", "dish", "ingredient", "weather", "forecast", "temperature", "humidity", "wind", "tide", "sunrise", "traffic", "route", "map", "road", "bridge", "station", "airport", "stop", "account", "profile", "user", "member", "contact", "customer", "client", "guest", "patient", "doctor", "nurse", "student", "teacher", "employee", "team", "project", "ticket", "bug", "issue", "branch", "build", "release", "server", "backup", "database", "table", "record", "log", "job", "script", "container", "lamp", "light", "heater", "fan", "door", "window", "lock", "camera", "sensor", "thermostat", "garden", "plant", "tree", "sprinkler", "pool", "battery", "loan", "mortgage", "tax", "salary", "budget", "expense", "stock", "share", "price", "rate", "currency", "fund", "policy", "claim", "contract", "lease", "game", "match", "score", "player", "league", "race", "medal", "vote", "poll", "survey", "form", "badge", "prize", "donation", "dose", "pill", "allergy", "symptom", "vaccine", "clinic", "test", "sample", "result", "blood", "sleep", "step", "workout", "diet", "calorie", "word", "phrase", "language", "text", "sentence", "summary", "translation", "definition", "synonym", "quote", "joke", "poem", "story", "number", "sum", "average", "median", "total", "percentage", "ratio", "area", "volume", "length", "distance", "speed", "weight", "angle", "horse", "dog", "cat", "bird", "fish", "pet", "farm", "field", "crop", "seed", "harvest", "barn", "boat", "ship", "dock", "engine", "tyre", "tool", "machine", "printer", "phone", "laptop", "zone", "time", "unit", "date", "day", "week", "month", "year", "season", "clock", "statistics", "reading", "entry", "draft", "topic", "tag", "label", "key", "code", "token"]

PLACES = ["Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Oslo", "Lima", "Tokyo", "Cairo", "Delhi", "Dublin", "Prague", "Lisbon", "Boston", "Denver", "Austin", "Chicago", "Seattle", "Toronto", "Sydney", "Nairobi", "Lagos", "Athens", "Geneva", "Munich", "Milan", "Osaka", "Seoul", "Bergen", "Porto", "Krakow", "Havana", "Quito"]
PEOPLE = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Karin", "Leo", "Maria", "Nina", "Oscar", "Paula", "Quentin", "Rosa", "Sam", "Tara", "Uma", "Victor", "Wendy", "Xavier", "Yara", "Zoe", "Ada", "Bruno", "Chloe", "Dmitri", "Elif", "Farid", "Gina", "Hana", "Ivan", "Julia", "Kofi", "Lucia"]
PLAIN = ["red", "blue", "green", "black", "white", "small", "large", "medium", "fast", "slow", "early", "late", "fresh", "spicy", "sweet", "dry", "warm", "cold", "quiet", "loud", "morning", "evening", "spring", "summer", "autumn", "winter", "north", "south", "east", "west", "gold", "silver", "paper", "glass", "stone", "wood", "cotton", "wool", "apple", "bread", "cheese", "coffee", "tea", "milk", "rice", "soup", "cake", "lemon", "tomato", "pepper", "bacon", "salad", "pasta", "pizza", "jazz", "rock", "opera", "chess", "tennis", "football", "running", "swimming", "reading", "history", "physics", "chemistry", "music", "painting", "budget", "travel", "office", "home", "family", "work", "school", "market", "bank", "museum", "library", "park", "beach", "forest", "river", "mountain", "weekly", "daily", "monthly", "annual", "final", "first", "second", "public", "private", "shared", "urgent", "important", "simple", "modern", "classic"]
ENUMS: tuple[tuple[str, ...], ...] = (
    ("small", "medium", "large"),
    ("low", "medium", "high"),
    ("economy", "business", "first"),
    ("standard", "express", "overnight"),
    ("celsius", "fahrenheit", "kelvin"),
    ("metric", "imperial"),
    ("asc", "desc"),
    ("open", "done", "all"),
    ("open", "closed", "pending"),
    ("mean", "median", "mode"),
    ("minimum", "maximum", "average", "total"),
    ("sum", "mean", "range", "variance"),
    ("red", "green", "blue", "yellow"),
    ("daily", "weekly", "monthly"),
    ("pdf", "csv", "html"),
    ("png", "jpeg", "svg"),
    ("email", "sms", "push"),
    ("cash", "card", "transfer"),
    ("breakfast", "lunch", "dinner"),
    ("public", "private", "shared"),
    ("draft", "final"),
    ("single", "double", "suite"),
    ("north", "south", "east", "west"),
    ("vegan", "vegetarian", "halal", "none"),
    ("eco", "normal", "boost"),
    ("english", "french", "german", "spanish"),
    ("euro", "dollar", "pound", "yen"),
    ("beginner", "intermediate", "advanced"),
    ("created", "updated", "deleted"),
    ("read", "write", "admin"),
)
UNITS = ["km", "miles", "metres", "feet", "inches", "yards", "kg", "pounds", "grams", "ounces", "litres", "gallons", "pints", "cups", "celsius", "fahrenheit", "kelvin", "hours", "minutes", "seconds", "days", "weeks", "joules", "calories", "watts", "bytes", "megabytes", "gigabytes", "acres", "hectares", "knots", "bars", "euros", "dollars", "pounds", "yen"]
ZONES = ["Europe/Paris", "Europe/London", "Europe/Berlin", "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "Asia/Tokyo", "Asia/Delhi", "Asia/Seoul", "Asia/Dubai", "Australia/Sydney", "Africa/Cairo", "Africa/Lagos", "America/Lima", "UTC", "GMT", "EST", "PST", "CET"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]

_ONSETS = ["b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "br", "cr", "dr", "fl", "gr", "kl", "pl", "pr", "sk", "sl", "st", "tr", "th", "sh", "ch", "vr", "zh", "qu"]
_NUCLEI = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "ai", "ea", "io", "ou"]
_CODAS = ["", "", "", "n", "r", "l", "s", "t", "m", "k", "x", "nd", "rt", "sk", "lm", "p"]


def side_of(word: str) -> Side:
    """One word in eight is kept for evaluation, for ever."""
    return "eval" if hashlib.sha256(word.lower().encode()).digest()[0] < 32 else "train"


def pseudo_word(rng: random.Random, side: Side | None = None) -> str:
    """A pronounceable word of one to three syllables; of the given side when one is given."""
    while True:
        syllables = rng.choices((1, 2, 3), (2, 5, 2))[0]
        word = "".join(rng.choice(_ONSETS) + rng.choice(_NUCLEI) for _ in range(syllables)) + rng.choice(_CODAS)
        if len(word) >= 3 and (side is None or side_of(word) == side):
            return word


NOUNS_BY_SIDE: dict[Side, tuple[str, ...]] = {
    "train": tuple(sorted({n for n in NOUNS if side_of(n) == "train"})),
    "eval": tuple(sorted({n for n in NOUNS if side_of(n) == "eval"})),
}
