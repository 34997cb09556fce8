package daprstate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/dapr-entities/entities/actors"
)

// Keys of the state store, all behind the prefix of the configuration:
//
//	journal                       the journal's id
//	h/<service>/<id>              the head of a stream
//	s/<service>/<id>/<n>          its n-th segment, of segmentEvents events
//	c/<service>/<id>/<life>/<command>  a record of a command that the head has no room for any more
//	r/<service>/<id>/<life>/<n>   the n-th list of such commands
//	b/<random>                    a part of something big, to which one other record refers
//	t/<random>                    what became of a transaction over several streams
//	f                             the end of the feed, and f/<n> its full pages
//	i/<index>[/<random>]          pages of the ordered indexes
//
// Those of h, f without number, i, t and journal are compared, all others are written once, or with what they hold anyway.

// maxNameBytes is how long a service or an id may be in a key, so that the longest key stays below the 255 bytes that some
// stores allow.
const maxNameBytes = 76

// escape makes a part of a key from any text: no two texts have the same. Letters, digits, dot, hyphen and underscore stay,
// so Dapr's own separator || does not occur. What gets too long is cut, and told apart by a hash.
func escape(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	if b.Len() <= maxNameBytes {
		return b.String()
	}
	sum := sha256.Sum256([]byte(text))
	return b.String()[:maxNameBytes-41] + "~" + hex.EncodeToString(sum[:20])
}

func (j *Journal) key(parts ...string) string {
	return j.config.Prefix + "/" + strings.Join(parts, "/")
}

func (j *Journal) headKey(ref actors.Ref) string {
	return j.key("h", escape(ref.Service), escape(ref.ID))
}

func (j *Journal) segmentKey(ref actors.Ref, n int64) string {
	return j.key("s", escape(ref.Service), escape(ref.ID), fmt.Sprint(n))
}

func (j *Journal) commandKey(ref actors.Ref, life int64, command string) string {
	sum := sha256.Sum256([]byte(command))
	return j.key("c", escape(ref.Service), escape(ref.ID), fmt.Sprint(life), hex.EncodeToString(sum[:16]))
}

func (j *Journal) namesKey(ref actors.Ref, life, n int64) string {
	return j.key("r", escape(ref.Service), escape(ref.ID), fmt.Sprint(life), fmt.Sprint(n))
}

func (j *Journal) partKey(name string, part int) string {
	return j.key("b", fmt.Sprint(name, ".", part))
}
