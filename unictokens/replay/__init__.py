"""Knowledge replay: a drawing prompt that needs knowledge first makes the model say what it knows (OmniPersona, section 3.2).

settings   how it is done
rules      what in a prompt refers to knowledge, how to ask for it, how to read the answer: a table
exemplars  the same asked of the model itself, with examples in the prompt
recall     the three steps, without anybody who answers: it says what to ask next
replay     the steps with a `Pipeline`
trace      what was asked, answered and refused, and the prompt that is drawn
"""
