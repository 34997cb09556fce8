package sdk

import "github.com/dapr-entities/entities/sdk/internal/def"

// Definition is what a Server serves. The kinds of entities implement it, such as eventsourced.Entity; nobody else can.
type Definition interface {
	// Definition is called by this package and reports every problem.
	Definition() (*def.Entity, error)
}
