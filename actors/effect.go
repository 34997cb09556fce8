package actors

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
)

var effectText = base32.HexEncoding.WithPadding(base32.NoPadding)

// EffectID names what follows from a command to ref: the same for every attempt at the same command id, and unlike
// everything else that follows from any command. Effects have the ordinals from 1 on, a forward has 0.
func EffectID(ref Ref, command string, ordinal int) string {
	b := make([]byte, 0, 32+len(ref.Service)+len(ref.ID)+len(command))
	for _, s := range []string{ref.Service, ref.ID, command} {
		b = appendString(b, s)
	}
	sum := sha256.Sum256(binary.AppendUvarint(b, uint64(ordinal)))
	return effectText.EncodeToString(sum[:16])
}
