package turn

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// SetMetadata sends a text along with the reply, in place of an earlier one with the same key.
func SetMetadata(s *Sent, key, text string) error {
	if key == "" || !utf8.ValidString(key) || !utf8.ValidString(text) {
		return fmt.Errorf("metadata %q of the reply: the key is empty, or one of both is not valid UTF-8", key)
	}
	if s.Metadata == nil {
		s.Metadata = new(cloudstate.Metadata)
	}
	entry := &cloudstate.MetadataEntry{Key: key, Value: &cloudstate.MetadataEntry_StringValue{StringValue: text}}
	for i, e := range s.Metadata.Entries {
		if strings.EqualFold(e.GetKey(), key) {
			s.Metadata.Entries[i] = entry
			return nil
		}
	}
	s.Metadata.Entries = append(s.Metadata.Entries, entry)
	return nil
}
