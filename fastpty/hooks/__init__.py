"""The actions of hooks: parsed from their text, then run. When they run is for `jail` to say."""
