//! Finding one of several things by what people call it.

use super::error::{CliError, Result};

/// What can be found.
pub(super) trait Named {
    /// What such a thing is called, as in `project`.
    const KIND: &'static str;

    /// The command that lists them.
    const LIST: &'static str;

    fn id(&self) -> &str;

    /// What people call it; of several things, the same name may be meant.
    fn names(&self) -> Vec<&str>;
}

/// Finds a thing by its id, or else by a name that no other one has: as it is written, or else in letters of another case.
pub(super) fn find<T: Named>(things: Vec<T>, text: &str) -> Result<T> {
    let kind = T::KIND;
    let has_name = |thing: &T, is_it: &dyn Fn(&str) -> bool| {
        // What has no name can't be meant by it.
        !text.is_empty() && thing.names().into_iter().any(is_it)
    };
    let as_written = things.iter().any(|thing| has_name(thing, &|name| name == text));
    let is_called =
        |thing: &&T| has_name(thing, &|name| name == text || (!as_written && name.eq_ignore_ascii_case(text)));
    let by_id = things.iter().position(|thing| thing.id().eq_ignore_ascii_case(text));
    let called = things.iter().filter(is_called).count();
    let found = match (by_id, called) {
        (Some(index), _) => Some(index),
        (None, 1) => things.iter().position(|thing| is_called(&thing)),
        (None, 0) => None,
        (None, _) => {
            return Err(CliError::failed(format!("there are {called} {kind}s called {text}"))
                .hint(format!("name it by its id, which `{}` shows", T::LIST)));
        }
    };
    found.and_then(|index| things.into_iter().nth(index)).ok_or_else(|| {
        CliError::not_found(format!("there is no {kind} {text}")).hint(format!("`{}` shows what there is", T::LIST))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dog(&'static str, &'static str);

    impl Named for Dog {
        const KIND: &'static str = "dog";
        const LIST: &'static str = "ensign dog list";

        fn id(&self) -> &str {
            self.0
        }

        fn names(&self) -> Vec<&str> {
            vec![self.1]
        }
    }

    #[test]
    fn by_id_or_by_the_only_one_of_a_name() {
        let check = |text: &str, expected: std::result::Result<&str, &str>| {
            let dogs = [("1", "rex"), ("2", "bo"), ("3", "bo"), ("4", "1"), ("5", ""), ("6", "Ace"), ("7", "ace")];
            let found = find(dogs.map(|(id, name)| Dog(id, name)).into(), text);
            let found = found.map(|dog| dog.0).map_err(|error| error.message);
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        };
        check("rex", Ok("1"));
        check("Rex", Ok("1"));
        check("Ace", Ok("6"));
        check("ace", Ok("7"));
        check("ACE", Err("there are 2 dogs called ACE"));
        check("2", Ok("2"));
        check("1", Ok("1"));
        check("bo", Err("there are 2 dogs called bo"));
        check("max", Err("there is no dog max"));
        check("", Err("there is no dog "));
    }
}
