"""UniCTokens: teach a frozen unified vision-language model your own concepts, then talk about them and draw them."""

__version__ = "0.1.0"
