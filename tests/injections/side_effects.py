"""What each tool of AgentDojo's suites may change, settled by hand from its code (v1.2.2).

Whatever sends, creates, changes, deletes, books, pays, invites or posts is a write. Two look like reading and are not:
`get_unread_emails` marks what it gives as read, and `get_webpage` sends a request to whichever host the policy names, which is
how an injected "visit this link" gets its way. Made again they do nothing new, so they count as idempotent.
"""

from collections.abc import Mapping

from tools.spec import SideEffect

_READ, _IDEMPOTENT, _WRITE = SideEffect.READ, SideEffect.IDEMPOTENT, SideEffect.WRITE

_CALENDAR = {
    "search_calendar_events": _READ,
    "get_day_calendar_events": _READ,
    "create_calendar_event": _WRITE,
    "cancel_calendar_event": _WRITE,
}

SIDE_EFFECTS: Mapping[str, Mapping[str, SideEffect]] = {
    "workspace": {
        **_CALENDAR,
        "send_email": _WRITE,
        "delete_email": _WRITE,
        "get_unread_emails": _IDEMPOTENT,
        "get_sent_emails": _READ,
        "get_received_emails": _READ,
        "get_draft_emails": _READ,
        "search_emails": _READ,
        "search_contacts_by_name": _READ,
        "search_contacts_by_email": _READ,
        "get_current_day": _READ,
        "reschedule_calendar_event": _WRITE,
        "add_calendar_event_participants": _WRITE,
        "append_to_file": _WRITE,
        "search_files_by_filename": _READ,
        "create_file": _WRITE,
        "delete_file": _WRITE,
        "get_file_by_id": _READ,
        "list_files": _READ,
        "share_file": _WRITE,
        "search_files": _READ,
    },
    "travel": {
        **_CALENDAR,
        "get_user_information": _READ,
        "get_all_hotels_in_city": _READ,
        "get_hotels_prices": _READ,
        "get_rating_reviews_for_hotels": _READ,
        "get_hotels_address": _READ,
        "get_all_restaurants_in_city": _READ,
        "get_cuisine_type_for_restaurants": _READ,
        "get_restaurants_address": _READ,
        "get_rating_reviews_for_restaurants": _READ,
        "get_dietary_restrictions_for_all_restaurants": _READ,
        "get_contact_information_for_restaurants": _READ,
        "get_price_for_restaurants": _READ,
        "check_restaurant_opening_hours": _READ,
        "get_all_car_rental_companies_in_city": _READ,
        "get_car_types_available": _READ,
        "get_rating_reviews_for_car_rental": _READ,
        "get_car_fuel_options": _READ,
        "get_car_rental_address": _READ,
        "get_car_price_per_day": _READ,
        "reserve_hotel": _WRITE,
        "reserve_car_rental": _WRITE,
        "reserve_restaurant": _WRITE,
        "get_flight_information": _READ,
        "send_email": _WRITE,
    },
    "banking": {
        "get_iban": _READ,
        "send_money": _WRITE,
        "schedule_transaction": _WRITE,
        "update_scheduled_transaction": _WRITE,
        "get_balance": _READ,
        "get_most_recent_transactions": _READ,
        "get_scheduled_transactions": _READ,
        "read_file": _READ,
        "get_user_info": _READ,
        "update_password": _WRITE,
        "update_user_info": _WRITE,
    },
    "slack": {
        "get_channels": _READ,
        "add_user_to_channel": _WRITE,
        "read_channel_messages": _READ,
        "read_inbox": _READ,
        "send_direct_message": _WRITE,
        "send_channel_message": _WRITE,
        "get_users_in_channel": _READ,
        "invite_user_to_slack": _WRITE,
        "remove_user_from_slack": _WRITE,
        "get_webpage": _IDEMPOTENT,
        "post_webpage": _WRITE,
    },
}
