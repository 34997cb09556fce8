package operations

import (
	"errors"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Ref names an entity.
type Ref = actors.Ref

var (
	// ErrDamaged is matched by errors about what cannot be read as it was written: an event of a journal, or a line of an
	// export. It is journal.ErrCorrupt.
	ErrDamaged = journal.ErrCorrupt
	// ErrOther is matched by errors about a journal that holds something else than what is to be brought in.
	ErrOther = errors.New("the journal holds something else")
)

// NotFound reports whether an error says that there is no such entity, version or journal.
func NotFound(err error) bool { return actors.CodeOf(err) == actors.NotFound }
