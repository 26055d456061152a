{{include "say.sh" .}}
say {{quote .Installing}}
