// Package catalog knows what a user function serves: its services, their methods, and what their messages look like.
//
// A Catalog is made of the EntitySpec that a user function answers to discovery. New checks everything in it that could
// go wrong later, and reports all of it at once, because the one who reads the report sits at the other end of a build.
// A Catalog never changes; a user function that comes back with another spec gets another Catalog.
//
// Methods turn the payloads of callers into those of the user function and back. There are two sorts of service. One is
// described by protobuf descriptors: callers may send JSON or protobuf, the user function gets protobuf. The other has no
// descriptors and lists its methods (extension "json"): callers send JSON and the user function gets JSON.
package catalog
