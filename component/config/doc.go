// Package config holds every setting of the component: where it may be given, what it means, what it is by default.
//
// A setting has one name everywhere: it is a metadata item of a Dapr component (where case does not matter, because
// Dapr does not mind it either), a flag of the command, and an entry of Settings, from which errors, --help and the
// metadata.yaml files are made or checked.
//
// Values come in layers of raw text, each over the ones before it:
//
//	Environment     what Dapr and the operating system say
//	Flags           of the command
//	the init file   the metadata that the sidecar gave last time (package building keeps it)
//	the metadata    of the component's YAML, given by the sidecar's Init
//
// Resolve lays them over each other, parses and validates the result, and reports every problem at once.
package config
