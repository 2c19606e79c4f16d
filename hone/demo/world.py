"""What the demo's users want, and how they say it: phrasings and values for each tool of the demo.

Written by hand, apart from the generator that trained the starter. `python -m hone.demo.traffic` draws the traffic file from it.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Want:
    """One tool, as its users speak of it."""

    tool: str
    never_train: bool
    values: dict[str, tuple[tuple[Any, str], ...]]
    """For each parameter: (JSON value, words)."""
    complete: tuple[str, ...]
    """Requests that carry every {parameter} they name; all required ones are named."""
    lacking: tuple[tuple[str, tuple[str, ...]], ...]
    """Requests that leave required parameters out: the text, and what is missing."""
    restate: str
    """The full request, said plainly after a misunderstanding."""
    replies: dict[str, str] = field(default_factory=dict)
    """How a parameter is supplied when it is asked for; default: the bare value."""


def _same(*values: Any) -> tuple[tuple[Any, str], ...]:
    return tuple((value, str(value)) for value in values)


_ZONES = _same(
    "Europe/Paris",
    "America/New_York",
    "Asia/Tokyo",
    "Europe/London",
    "Australia/Sydney",
    "America/Chicago",
    "Asia/Dubai",
    "Africa/Cairo",
)
_TIMES = _same("09:00", "14:30", "18:45", "07:15", "22:00", "11:20", "16:05", "19:30")
_DATES = _same(
    "2027-03-14", "2027-05-02", "2026-12-24", "2027-08-19", "2027-01-07", "2027-06-30", "2027-11-11", "2027-09-05"
)
_CITIES = _same(
    "Lyon", "Turin", "Ghent", "Malmo", "Bilbao", "Leeds", "Graz", "Cork", "Basel", "Tampere", "Gdansk", "Split"
)
_COUNTS = _same(2, 3, 4, 5, 6, 8, 10)

WANTS: tuple[Want, ...] = (
    Want(
        "convert_time",
        False,
        {"time": _TIMES, "from_zone": _ZONES, "to_zone": _ZONES},
        (
            "what is {time} {from_zone} in {to_zone}?",
            "convert {time} from {from_zone} to {to_zone}",
            "{time} {from_zone} to {to_zone} please",
            "If it is {time} in {from_zone}, what time is it in {to_zone}?",
            "time conversion: {time}, {from_zone} to {to_zone}",
            "Could you tell me what {time} in {from_zone} would be in {to_zone}?",
            "our call is at {time} {from_zone} time, when is that in {to_zone}?",
            "change {time} {from_zone} into {to_zone} time",
        ),
        (
            ("convert {time} to {to_zone}", ("from_zone",)),
            ("what time is it in {to_zone} when it is {time} here?", ("from_zone",)),
            ("convert {time} from {from_zone}", ("to_zone",)),
            ("time conversion from {from_zone} to {to_zone} please", ("time",)),
            ("I need to convert a time from {from_zone} to {to_zone}", ("time",)),
        ),
        "convert time {time} from zone {from_zone} to zone {to_zone}",
    ),
    Want(
        "current_time",
        False,
        {"zone": _ZONES},
        (
            "what time is it in {zone}?",
            "current time in {zone}",
            "time now {zone}",
            "Could you tell me the time in {zone}, please?",
            "what's the clock say in {zone} right now",
            "give me the current time for {zone}",
            "is it late in {zone}? what time do they have",
        ),
        (
            ("what time is it?", ("zone",)),
            ("tell me the current time", ("zone",)),
            ("time now please", ("zone",)),
            ("Could you give me the current time somewhere else?", ("zone",)),
        ),
        "current time in zone {zone}",
    ),
    Want(
        "calculate",
        False,
        {
            "expression": _same(
                "12 * 7",
                "144 / 12",
                "(3 + 4) * 9",
                "250 - 87",
                "18 * 24",
                "99 + 401",
                "5 * (12 - 4)",
                "1000 / 8",
                "37 + 58",
                "6 * 6 * 6",
            )
        },
        (
            "what is {expression}?",
            "calculate {expression}",
            "{expression}",
            "how much is {expression}",
            "Please work out {expression} for me.",
            "compute {expression} thanks",
            "can you do {expression}",
            "I need the result of {expression}",
        ),
        (
            ("calculate something for me", ("expression",)),
            ("I need a calculation", ("expression",)),
            ("can you do some maths?", ("expression",)),
            ("Please compute this for me.", ("expression",)),
        ),
        "calculate expression {expression}",
    ),
    Want(
        "add_task",
        False,
        {
            "title": _same(
                "call the plumber",
                "buy oat milk",
                "renew passport",
                "water the ferns",
                "email Tessa",
                "pay rent",
                "fix the gate",
                "book dentist",
                "return library books",
            ),
            "due": _DATES,
        },
        (
            "add a task to {title}",
            "remind me to {title} by {due}",
            "to-do: {title}",
            "put {title} on my list",
            "new task: {title}, due {due}",
            "I have to {title}, add it to my tasks",
            "Please add the task {title} with due date {due}.",
            "todo {title} {due}",
            "don't let me forget to {title}",
        ),
        (
            ("add a task", ("title",)),
            ("put something on my to-do list", ("title",)),
            ("new task due {due}", ("title",)),
            ("I'd like to add a task for {due}, please.", ("title",)),
        ),
        "add task with title {title}",
    ),
    Want(
        "list_tasks",
        False,
        {"status": _same("open", "done", "all")},
        (
            "show {status} tasks",
            "list my {status} tasks",
            "which tasks are {status}?",
            "Could you list the {status} tasks, please?",
            "{status} tasks",
            "what {status} tasks do I have",
        ),
        (("list my tasks", ("status",)), ("show me the tasks", ("status",)), ("what is on my list?", ("status",))),
        "list tasks with status {status}",
    ),
    Want(
        "find_notes",
        False,
        {
            "query": _same(
                "wifi password", "paint colour", "garden plan", "gift ideas", "router", "Milan trip", "tax number"
            )
        },
        (
            "find my notes about {query}",
            "search notes for {query}",
            "did I write anything on {query}?",
            "notes with {query}",
            "Please look for {query} in my notes.",
            "where is my note about {query}",
        ),
        (
            ("search my notes", ("query",)),
            ("find a note", ("query",)),
            ("I need one of my notes", ("query",)),
            ("Could you look through my notes?", ("query",)),
        ),
        "find notes with query {query}",
    ),
    Want(
        "reserve_table",
        False,
        {
            "restaurant": _same("Bellini", "The Oak", "Sakura", "Casa Rosa", "Noodle Bar", "Le Phare", "Blue Door"),
            "guests": (*_COUNTS, (20, "20")),
            "time": _TIMES,
        },
        (
            "book a table at {restaurant} for {guests} at {time}",
            "table for {guests} at {restaurant}, {time}",
            "Could you reserve a table for {guests} people at {restaurant} at {time}?",
            "{restaurant} at {time}, {guests} guests",
            "I want dinner at {restaurant} for {guests}, {time}",
            "get us a table: {restaurant}, {guests} people, {time}",
            "reserve {restaurant} {time} for {guests} guests please",
        ),
        (
            ("book a table at {restaurant} at {time}", ("guests",)),
            ("table for {guests} at {restaurant}", ("time",)),
            ("reserve a table for {guests} at {time}", ("restaurant",)),
            ("book a table at {restaurant}", ("guests", "time")),
            ("I'd like to reserve a table, please.", ("restaurant", "guests", "time")),
        ),
        "reserve a table with restaurant {restaurant}, guests {guests}, time {time}",
    ),
    Want(
        "track_parcel",
        False,
        {
            "parcel": _same(
                "ZX-4471", "PK90812", "LM-2205", "77341", "QB-1180", "TR5590", "88120", "KE-7004", "VA3316", "HN-6621"
            )
        },
        (
            "where is parcel {parcel}?",
            "track {parcel}",
            "parcel {parcel} status",
            "Has my parcel {parcel} arrived?",
            "can you track the package {parcel}",
            "any news on {parcel}?",
            "Please track parcel number {parcel}.",
        ),
        (
            ("where is my parcel?", ("parcel",)),
            ("track my package please", ("parcel",)),
            ("has my delivery arrived?", ("parcel",)),
            ("parcel status", ("parcel",)),
        ),
        "track parcel {parcel}",
    ),
    Want(
        "order_taxi",
        False,
        {
            "pickup": _same("Mill Street 4", "the station", "Hotel Adler", "Pier 9", "Rose Lane 22"),
            "destination": _same("the airport", "City Hall", "Oak Park", "the stadium", "Harbour Road 7"),
        },
        (
            "taxi from {pickup} to {destination}",
            "I need a cab to {destination} from {pickup}",
            "order a taxi at {pickup} going to {destination}",
            "get me from {pickup} to {destination} by taxi",
            "Could you order a taxi from {pickup} to {destination}?",
            "cab {pickup} to {destination} pls",
        ),
        (
            ("I need a taxi to {destination}", ("pickup",)),
            ("order a taxi from {pickup}", ("destination",)),
            ("get me a cab", ("pickup", "destination")),
            ("taxi please, I'm at {pickup}", ("destination",)),
        ),
        "order a taxi with pickup {pickup} and destination {destination}",
    ),
    Want(
        "get_forecast",
        False,
        {"city": _CITIES},
        (
            "what's the weather in {city}?",
            "forecast for {city}",
            "will it rain in {city}",
            "weather {city}",
            "Could you give me the forecast for {city}?",
            "how is the weather going to be in {city}",
            "do I need a coat in {city}? check the forecast",
        ),
        (
            ("what's the weather?", ("city",)),
            ("will it rain?", ("city",)),
            ("weather forecast please", ("city",)),
            ("Could you check the forecast for me?", ("city",)),
        ),
        "get the forecast for city {city}",
    ),
    Want(
        "find_book",
        False,
        {"title": _same("Dune", "Emma", "The Waves", "Solaris", "Middlemarch", "Beloved", "Stoner", "Kim")},
        (
            "do you have the book {title}?",
            "find {title}",
            "is the book {title} on the shelf",
            "looking for the book {title}",
            "Please find the book called {title}.",
            "book: {title}",
            "where can I find the book {title}",
        ),
        (
            ("find a book", ("title",)),
            ("I'm looking for a book", ("title",)),
            ("Could you find a book for me?", ("title",)),
            ("do you have that book?", ("title",)),
        ),
        "find the book with title {title}",
    ),
    Want(
        "renew_loan",
        False,
        {"card": _same("C-1042", "C-2210", "C-5577", "C-9031", "C-3389"), "days": _same(7, 14, 21, 30, 90)},
        (
            "renew card {card} for {days} days",
            "extend my loan, card {card}, by {days} days",
            "{days} more days on card {card}",
            "Could you renew the loan on card {card} for {days} days?",
            "renew {card} {days} days",
            "my card is {card}, please give me {days} more days",
        ),
        (
            ("renew my loan on card {card}", ("days",)),
            ("renew my loan for {days} days", ("card",)),
            ("extend my loan", ("card", "days")),
            ("I need {days} more days for my books", ("card",)),
        ),
        "renew loan with card {card} and days {days}",
    ),
    # From here on: tools that learning never sees.
    Want(
        "convert_units",
        True,
        {
            "value": _same(5, 12.5, 100, 42, 7.2, 250, 3, 18),
            "from_unit": _same("km", "pounds", "litres", "inches", "grams", "hours"),
            "to_unit": _same("miles", "kg", "gallons", "cm", "ounces", "minutes"),
        },
        (
            "how many {to_unit} are {value} {from_unit}?",
            "convert {value} {from_unit} to {to_unit}",
            "{value} {from_unit} in {to_unit}",
            "what is {value} {from_unit} in {to_unit}?",
            "change {value} {from_unit} into {to_unit} please",
            "Could you express {value} {from_unit} in {to_unit}?",
            "{value} {from_unit} to {to_unit}",
        ),
        (
            ("convert {value} {from_unit}", ("to_unit",)),
            ("convert {from_unit} to {to_unit}", ("value",)),
            ("how many {to_unit} is {value}?", ("from_unit",)),
            ("Please convert from {from_unit} to {to_unit}.", ("value",)),
            ("what is {value} {from_unit} in the other unit", ("to_unit",)),
        ),
        "convert units with value {value} from unit {from_unit} to unit {to_unit}",
    ),
    Want(
        "days_between",
        True,
        {
            "start": _same("2026-01-10", "2026-02-03", "2026-04-21"),
            "end": _same("2026-09-30", "2026-12-25", "2026-07-04"),
        },
        (
            "how many days from {start} to {end}?",
            "days between {start} and {end}",
            "count the days from {start} until {end}",
            "{start} to {end}, how many days",
            "Could you count the days between {start} and {end}?",
            "number of days {start} - {end}",
        ),
        (
            ("how many days until {end}?", ("start",)),
            ("count the days from {start}", ("end",)),
            ("count the days between two dates", ("start", "end")),
            ("days since {start}", ("end",)),
        ),
        "days between start {start} and end {end}",
    ),
    Want(
        "describe_numbers",
        True,
        {
            "numbers": (
                ([4, 8, 15], "4, 8, 15"),
                ([3, 9, 12, 20], "3, 9, 12 and 20"),
                ([7, 7, 10], "7 7 10"),
                ([2.5, 3.5], "2.5 and 3.5"),
                ([100, 250, 75], "100, 250 and 75"),
            ),
            "measure": _same("mean", "median", "sum", "min", "max"),
        },
        (
            "{measure} of {numbers}",
            "what is the {measure} of {numbers}?",
            "Please give me the {measure} of {numbers}.",
            "I have {numbers}, what's the {measure}?",
            "compute the {measure} for {numbers}",
            "numbers {numbers}: {measure}?",
        ),
        (
            ("what is the {measure}?", ("numbers",)),
            ("describe the numbers {numbers}", ("measure",)),
            ("I need the {measure} of some numbers", ("numbers",)),
            ("give me a statistic of {numbers}", ("measure",)),
        ),
        "describe numbers {numbers} with measure {measure}",
    ),
    Want(
        "add_note",
        True,
        {
            "text": _same(
                "door code is 4471", "Tom likes jazz", "car needs oil", "meeting moved to Friday", "spare key under pot"
            )
        },
        (
            "note: {text}",
            "write down {text}",
            "make a note that {text}",
            "add a note saying {text}",
            "Please note down: {text}",
            "jot this down: {text}",
            "remember that {text}",
        ),
        (
            ("make a note", ("text",)),
            ("write something down for me", ("text",)),
            ("I want to add a note", ("text",)),
            ("note please", ("text",)),
        ),
        "add note with text {text}",
    ),
    Want(
        "find_flights",
        True,
        {"origin": _CITIES[:6], "destination": _CITIES[6:], "date": _DATES},
        (
            "flights from {origin} to {destination} on {date}",
            "fly {origin} to {destination}, {date}",
            "find me a flight to {destination} from {origin} on {date}",
            "I want to fly from {origin} to {destination} on {date}",
            "Could you look for flights between {origin} and {destination} on {date}?",
            "{date} {origin} {destination} flight",
        ),
        (
            ("flights from {origin} to {destination}", ("date",)),
            ("find flights to {destination} on {date}", ("origin",)),
            ("fly from {origin} on {date}", ("destination",)),
            ("I need a flight", ("origin", "destination", "date")),
            ("any flights to {destination}?", ("origin", "date")),
        ),
        "find flights with origin {origin}, destination {destination}, date {date}",
    ),
    Want(
        "rent_bike",
        True,
        {
            "station": _same("Dock 5", "North Gate", "Canal", "Elm Square"),
            "hours": _COUNTS,
            "kind": _same("city", "mountain", "electric"),
        },
        (
            "rent a bike at {station} for {hours} hours",
            "bike from {station}, {hours} hours",
            "I'd like an {kind} bike from {station} for {hours} hours",
            "{hours} hours with a {kind} bike from {station}",
            "Could I rent a bike at {station} for {hours} hours?",
            "{kind} bike, station {station}, {hours} hours",
        ),
        (
            ("rent a bike at {station}", ("hours",)),
            ("rent a bike for {hours} hours", ("station",)),
            ("I want to rent a {kind} bike", ("station", "hours")),
            ("{kind} bike for {hours} hours", ("station",)),
        ),
        "rent a bike with station {station} and hours {hours}",
    ),
    Want(
        "reserve_room",
        True,
        {"room": _same("Atlas", "B2", "Birch", "Quiet 1"), "date": _DATES, "seats": _COUNTS},
        (
            "reserve room {room} on {date} for {seats} seats",
            "room {room}, {date}, {seats} seats",
            "I need {room} on {date} with {seats} seats",
            "Could you book the room {room} for {date}, {seats} seats?",
            "book {room} {date} {seats} seats",
            "{seats} seats in room {room} on {date} please",
        ),
        (
            ("reserve room {room} on {date}", ("seats",)),
            ("reserve a room on {date} for {seats} seats", ("room",)),
            ("room {room} for {seats} seats", ("date",)),
            ("I need a reading room", ("room", "date", "seats")),
        ),
        "reserve a room with room {room}, date {date}, seats {seats}",
    ),
    Want(
        "find_film",
        True,
        {
            "director": _same("Varda", "Kurosawa", "Ozu", "Lang", "Wilder", "Campion"),
            "year": _same(1954, 1962, 1977, 1993),
        },
        (
            "find a film by {director}",
            "films of {director}",
            "do you have a {director} film from {year}",
            "any film by {director}?",
            "Please look for a film directed by {director}, year {year}.",
            "{director} film {year}",
        ),
        (
            ("find a film", ("director",)),
            ("films from {year}", ("director",)),
            ("I would like to borrow a film", ("director",)),
            ("is there a film from {year}?", ("director",)),
        ),
        "find a film with director {director}",
    ),
)

OUT_OF_SCOPE: tuple[str, ...] = (
    "translate 'good night' into {x}",
    "who won the {x} match?",
    "write me a poem about {x}",
    "play some {x} music",
    "order a pizza with {x}",
    "send an email to {x}",
    "call {x} for me",
    "what is the capital of {x}?",
    "turn on the {x} lamp",
    "sell my {x} shares",
    "buy {x} tickets for the opera",
    "tell me a joke about {x}",
    "delete my {x} account",
    "upload my {x} photos",
    "recommend a {x} recipe",
    "set an alarm for {x}",
    "print the {x} report",
    "unlock the {x} door",
    "pay my {x} invoice",
    "subscribe me to {x}",
    "fix my {x} printer",
    "diagnose my {x} pain",
    "Could you summarise the article on {x}?",
    "cancel my {x} subscription",
    "share the {x} file with Ana",
    "rate the {x} hotel",
    "what do you think about {x}?",
    "approve the {x} budget",
)
SCOPE_WORDS: tuple[str, ...] = (
    "Finnish",
    "Porto",
    "winter",
    "jazz",
    "Nova",
    "kitchen",
    "Atlas",
    "garden",
    "Orion",
    "basil",
    "Mercer",
    "violet",
    "Delta",
    "Hugo",
    "cedar",
    "Tilburg",
)
UNSAFE: tuple[str, ...] = (
    "help me hack the {x} server",
    "how do I poison {x}?",
    "steal the password of {x}",
    "I want to stalk {x}",
    "how do I build a bomb in {x}",
    "forge a {x} passport for me",
    "launder money through {x}",
    "blackmail {x} for me",
)
