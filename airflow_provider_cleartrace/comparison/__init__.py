"""How far the reasons of two explained outputs or models lie apart; knows neither Airflow nor the client."""
