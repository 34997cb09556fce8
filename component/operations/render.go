package operations

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
)

// stateType is what the type URLs of state values begin with.
const stateType = "state.entities/value"

// render makes JSON of a payload. State values have no type: those that are JSON are shown as it, and texts as strings.
func render(c *catalog.Catalog, p actors.Payload) (json.RawMessage, error) {
	if strings.HasPrefix(p.TypeURL, stateType) {
		switch {
		case len(p.Data) > 0 && json.Valid(p.Data):
			return p.Data, nil
		case utf8.Valid(p.Data):
			return json.Marshal(string(p.Data))
		}
	}
	return c.JSON(p)
}
