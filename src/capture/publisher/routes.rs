//! Routes by their numbers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::capture::publisher::PublishError;
use crate::capture::publisher::Route;
use crate::capture::publisher::RouteId;

/// Routes of one publisher, each with what the publisher has made of it.
///
/// A route that is registered again has the number that it had: tables are made ready at every
/// connection, and nothing is freed before the publisher is. Nobody waits while the lock is held:
/// whoever sends takes a route out of it.
#[derive(Debug)]
pub struct Routes<T> {
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    made: Vec<Arc<T>>,
    numbers: HashMap<Route, RouteId>,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Routes { inner: Mutex::new(Inner { made: Vec::new(), numbers: HashMap::new() }) }
    }
}

impl<T> Routes<T> {
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a route; `make` is called for one that is new.
    ///
    /// # Errors
    ///
    /// Those of `make`; or there are more than four billion routes.
    pub fn register(
        &self,
        route: Route,
        make: impl FnOnce(&Route) -> Result<T, PublishError>,
    ) -> Result<RouteId, PublishError> {
        let mut inner = self.lock();
        if let Some(number) = inner.numbers.get(&route) {
            return Ok(*number);
        }
        let number = u32::try_from(inner.made.len()).map_err(|_| PublishError::Internal {
            message: "there are more routes than numbers for them".to_owned(),
        })?;
        let made = make(&route)?;
        inner.made.push(Arc::new(made));
        inner.numbers.insert(route, RouteId(number));
        Ok(RouteId(number))
    }

    /// The route of this number.
    ///
    /// # Errors
    ///
    /// It was never registered.
    pub fn get(&self, number: RouteId) -> Result<Arc<T>, PublishError> {
        let place = usize::try_from(number.0).unwrap_or(usize::MAX);
        self.lock().made.get(place).cloned().ok_or_else(|| PublishError::Internal {
            message: format!("a record has route {}, which was never registered", number.0),
        })
    }
}

/// The route of the record before, which mostly is the one of the next record, too.
#[derive(Debug)]
pub struct LastRoute<T>(Option<(RouteId, Arc<T>)>);

impl<T> Default for LastRoute<T> {
    fn default() -> Self {
        LastRoute(None)
    }
}

impl<T> LastRoute<T> {
    /// The route of this number.
    ///
    /// # Errors
    ///
    /// It was never registered.
    pub fn find(&mut self, routes: &Routes<T>, number: RouteId) -> Result<&Arc<T>, PublishError> {
        let (_, route) = match self.0.take() {
            Some(last) if last.0 == number => self.0.insert(last),
            _ => self.0.insert((number, routes.get(number)?)),
        };
        Ok(route)
    }
}

#[cfg(test)]
mod tests {
    use super::LastRoute;
    use super::Routes;
    use crate::capture::publisher::PublishError;
    use crate::capture::publisher::Route;
    use crate::capture::publisher::RouteId;

    fn route(topic: &str, schema: &str) -> Route {
        Route { topic: topic.to_owned(), schema: Some(schema.to_owned()), ..Route::default() }
    }

    #[test]
    fn a_route_that_is_registered_again_is_not_made_again() {
        let routes = Routes::default();
        let mut made = 0;
        for _ in 0..1000 {
            for version in ["a", "b"] {
                let number = routes.register(route("t", version), |_| {
                    made += 1;
                    Ok(())
                });
                assert_eq!(number, Ok(RouteId(u32::from(version == "b"))));
            }
        }
        assert_eq!(made, 2);
    }

    #[test]
    fn a_record_without_a_route_is_an_error_and_is_not_left_out() {
        let routes = Routes::default();
        let first = routes.register(route("t", "a"), |_| Ok("first")).unwrap();
        let second = routes.register(route("t", "b"), |_| Ok("second")).unwrap();
        let mut last = LastRoute::default();
        for (number, expected) in [(first, "first"), (first, "first"), (second, "second")] {
            assert_eq!(**last.find(&routes, number).unwrap(), expected);
        }
        let unknown = last.find(&routes, RouteId(2)).unwrap_err();
        assert!(matches!(unknown, PublishError::Internal { .. }), "{unknown}");
    }
}
