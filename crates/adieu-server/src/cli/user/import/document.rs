//! Reads the users of one JSON document: an array, or the array `users` of an object. One user at a time is in memory,
//! and of that at most [`MAX_ROW_BYTES`].

use std::{
    cell::Cell,
    fmt,
    io::{self, BufRead, Read},
};

use serde::{
    Deserialize as _,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::record::{InputError, MAX_ROW_BYTES, Place};

/// Calls `each` with every user and where it begins.
pub(super) fn read(input: impl BufRead, each: &mut dyn FnMut(Place, Value)) -> Result<(), InputError> {
    let position = Position { line: Cell::new(1), entries: Cell::new(0), left: Cell::new(None) };
    let mut document = serde_json::Deserializer::from_reader(Counted { input, position: &position });
    let found = document.deserialize_any(Root { position: &position, each });
    match found.and_then(|found| document.end().map(|()| found)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(InputError::NoUsers),
        Err(error) if error.is_io() && position.left.get() == Some(0) => Err(InputError::TooLong(position.place())),
        Err(error) if error.is_io() => Err(InputError::Unreadable(error.into())),
        Err(error) if error.is_data() => Err(InputError::NoUsers),
        Err(error) => Err(InputError::Json { line: error.line(), column: error.column() }),
    }
}

/// How far the input has been read.
struct Position {
    line: Cell<usize>,
    /// How many entries have begun.
    entries: Cell<usize>,
    /// How many bytes may follow, while there is a limit.
    left: Cell<Option<usize>>,
}

impl Position {
    fn place(&self) -> Place {
        Place { line: self.line.get(), entry: Some(self.entries.get()).filter(|number| *number > 0) }
    }

    fn limited<T>(&self, read: impl FnOnce() -> T) -> T {
        self.left.set(Some(MAX_ROW_BYTES));
        let output = read();
        // Kept when it is used up, so that the error is known.
        self.left.set(self.left.get().filter(|left| *left == 0));
        output
    }
}

struct Counted<'p, R> {
    input: R,
    position: &'p Position,
}

impl<R: BufRead> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let lines = buffer.iter().take(read).filter(|byte| **byte == b'\n').count();
        self.position.line.set(self.position.line.get() + lines);
        if let Some(left) = self.position.left.get() {
            self.position.left.set(Some(left.saturating_sub(read)));
            if read >= left {
                return Err(io::Error::other("too long"));
            }
        }
        Ok(read)
    }
}

struct Root<'a> {
    position: &'a Position,
    each: &'a mut dyn FnMut(Place, Value),
}

impl<'de> Visitor<'de> for Root<'_> {
    /// Whether there were users.
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array, or an object with the member `users`")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut users: A) -> Result<bool, A::Error> {
        while users.next_element_seed(User(&mut self))?.is_some() {}
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let mut found = false;
        let Root { position, each } = self;
        while let Some(name) = position.limited(|| members.next_key::<String>())? {
            if name == "users" {
                members.next_value_seed(Users(Root { position, each: &mut *each }))?;
                found = true;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct Users<'a>(Root<'a>);

impl<'de> DeserializeSeed<'de> for Users<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, users: D) -> Result<bool, D::Error> {
        users.deserialize_seq(self.0)
    }
}

struct User<'r, 'a>(&'r mut Root<'a>);

impl<'de> DeserializeSeed<'de> for User<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, user: D) -> Result<(), D::Error> {
        // Its first byte has been read.
        self.0.position.entries.set(self.0.position.entries.get() + 1);
        let place = self.0.position.place();
        let user = self.0.position.limited(|| Value::deserialize(user))?;
        (self.0.each)(place, user);
        Ok(())
    }
}
